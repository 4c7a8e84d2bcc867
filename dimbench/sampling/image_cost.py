"""What an image costs: the bill of a whole run of the sampler, decoding included, as it would be executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import Any

from dimbench import methods
from dimbench.backbone import Backbone
from dimbench.counting import costs
from dimbench.counting.bill import Bill, trace
from dimbench.counting.rules import RULES
from dimbench.counting.text_encoders import text_encoders
from dimbench.diffusion.process import find_process
from dimbench.errors import UsageError
from dimbench.meta import NeedsValuesError, shapes_only
from dimbench.methods.reuse import linears
from dimbench.results import Record
from dimbench.sampling import decoding, run
from dimbench.sampling.autoencoder import LatentDecoder
from dimbench.sampling.run import ADAPTIVE, Run, Settings
from dimbench.sampling.sample_noise import SampleNoise


@dataclass(frozen=True)
class ImageCost:
    """The bill of a run of `bill.batch` images; its calls of the network; passes per image: two in a guided call.
    `by_numbers`: multiply-adds per image by rule macs of what multiplies int8 or the like, and "" of the rest."""

    bill: Bill
    calls: int
    passes: int
    by_numbers: Mapping[str, int]

    def macs(self, rule: str) -> int:
        """Multiply-adds per image by the rule of that name."""
        return RULES[rule].macs(self.bill) // self.bill.batch

    def decode_macs(self, rule: str) -> int:
        """Those of the autoencoder among them."""
        lines = [line for line in self.bill.lines if line.module.startswith("decode")]
        return round(sum(map(RULES[rule].weigh, lines))) // self.bill.batch


def settings_of(backbone: Backbone, sampler: str | None, steps: int, cfg: float, with_: Sequence[str] = ()) -> Settings:
    """How the backbone is sampled: with its own sampler where none is named. UsageError where it has no sound process.
    `with_` are texts that methods.parse takes."""
    diffusion = backbone.diffusion
    if not diffusion:
        raise UsageError(
            f"nothing says what process {backbone.name} was trained on; give --process, or a preset with [diffusion]"
        )
    find_process(diffusion)
    channels, interval = diffusion.get("guided_channels", 0), diffusion.get("guided_interval")
    return Settings(sampler or diffusion["sampler"], steps, cfg, channels, interval, methods.parse(with_))


def usual_settings(backbone: Backbone, with_: Sequence[str] = ()) -> Settings:
    """How its family's images are usually drawn. UsageError where no preset says so."""
    usual = backbone.preset.sampling if backbone.preset else {}
    if not {"steps", "cfg"} <= usual.keys():
        raise UsageError(f"nothing says how {backbone.name} is usually drawn; give --steps, and --cfg if guided")
    return settings_of(backbone, usual.get("sampler"), usual["steps"], usual["cfg"], with_)


def check_methods(backbone: Backbone, sampler: str | None, steps: int, cfg: float, with_: Sequence[str]) -> None:
    """Raise UsageError where such a run cannot be by these methods, in less time than it takes to read or draw."""
    if with_:
        settings, process = settings_of(backbone, sampler, steps, cfg, with_), find_process(backbone.diffusion)
        run.check(settings, process, backbone)
        Run(backbone, costs.skeleton(backbone)[1], process, settings)


def image_cost(
    backbone: Backbone, settings: Settings, decoded: bool, images: int | None = None, fill: costs.Fill | None = None
) -> ImageCost:
    """Counted on shapes alone, or where `images` says how many on real tensors, with the initial weights or what
    `fill` puts there; where `decoded`, with the published autoencoder. UsageError on shapes for an adaptive sampler and
    for a method that looks at values."""
    real = images is not None
    if settings.sampler == ADAPTIVE and not real:
        raise UsageError(
            f"{ADAPTIVE} chooses its steps by what the network says; count on real tensors with --real, or another "
            "--sampler"
        )
    process = find_process(backbone.diffusion)
    run.check(settings, process, backbone)
    _, network = costs.skeleton(backbone, real, fill)
    with nullcontext() if real else shapes_only():
        decoder = decoder_of(backbone) if decoded else None
    whole = Run(backbone, network, process, settings, decoder)
    noise = SampleNoise(0, range(images or 1), "cpu" if real else "meta")
    try:
        return traced(whole, noise)
    except NeedsValuesError:
        deciding = next((method for method in settings.methods if method.by_values), None)
        if deciding is None:
            raise
        raise UsageError(
            f"values decide what --with {deciding} leaves out, so that shapes do not tell its cost; count on real "
            "tensors with --real"
        ) from None


def traced(whole: Run, noise: SampleNoise) -> ImageCost:
    """The cost of the run's images of this noise, counted while they are drawn."""
    by_values = any(method.by_values for method in whole.settings.methods)
    alike = () if by_values else tuple(filter(None, (whole.network, whole.toward)))
    bill = trace(whole, lambda: whole(noise), len(noise.rows), alike=alike)
    return ImageCost(bill, whole.calls, whole.passes, _by_numbers(whole, bill))


def named(by_numbers: Mapping[str, int]) -> dict[str, int]:
    """The multiply-adds of a run by the numbers that are not the network's own, as records name them."""
    return {f"run_macs_{name}": macs for name, macs in by_numbers.items() if name}


def _by_numbers(whole: Run, bill: Bill) -> dict[str, int]:
    total = RULES["macs"].macs(bill) // bill.batch
    found = next((method for method in whole.settings.methods if method.numbers), None)
    if found is None:
        return {"": total}
    layers = {id(layer) for layer in linears(found, whole.network)}
    places = {f"network.{path}" for path, module in whole.network.named_modules() if id(module) in layers}
    macs = sum(line.macs for line in bill.lines if line.module in places and not line.dead) // bill.batch
    return {"": total - macs, found.numbers: macs}


def decoder_of(backbone: Backbone) -> LatentDecoder:
    """What decodes the latents of decoding.space_of, with the weights it is made with, on torch's default device.
    UsageError where the backbone's are others."""
    if backbone.stride == 1:
        raise UsageError(f"{backbone.name} draws no latents, and there is nothing to decode; leave out --decode")
    space = decoding.space_of(backbone)
    own, known = (backbone.state[0], backbone.stride), (space.channels, space.stride)
    if own != known:
        raise UsageError(
            f"{backbone.name} draws latents of {own[0]} channels at stride {own[1]}, and {space.name} decodes "
            f"{known[0]} at stride {known[1]}; name its autoencoder in its preset's [sampling]"
        )
    return LatentDecoder(space)


def image_record(
    of_pass: Record,
    backbone: Backbone,
    settings: Settings,
    rule: str,
    images: int | None = None,
    fill: costs.Fill | None = None,
) -> Record:
    """The record of a pass with what a whole image costs: `run_macs` of network, guidance and decoding; and in its
    details what one text costs in each text encoder, None where those cannot be counted here."""
    decoded = backbone.stride > 1
    found = image_cost(backbone, settings, decoded, images, fill)
    macs = found.macs(rule)
    metrics = {
        **of_pass.metrics,
        "network_calls": found.calls,
        "passes_per_image": found.passes,
        "run_macs": macs,
        "run_flops": 2 * macs,
        **({"decode_macs": found.decode_macs(rule)} if decoded else {}),
    }
    how = {"sampler": settings.sampler, "steps": settings.steps, "guided": settings.guided, "decoded": decoded}
    if settings.methods:
        how["methods"] = list(map(str, settings.methods))
        try:
            plain = image_cost(backbone, replace(settings, methods=()), decoded, images, fill).macs(rule)
        except UsageError:  # what a second network guides cannot always guide itself
            plain = 0
        metrics["share_of_plain"] = macs / plain if plain else None
        metrics |= named(found.by_numbers)
    details = {**of_pass.details, "text_encoders": _texts(backbone)}
    return replace(of_pass, conditions={**of_pass.conditions, **how}, metrics=metrics, details=details)


def _texts(backbone: Backbone) -> list[dict[str, Any]] | None:
    if backbone.preset is None or not backbone.preset.text_encoders:
        return []
    return None if find_spec("transformers") is None else [asdict(cost) for cost in text_encoders(backbone.preset)]
