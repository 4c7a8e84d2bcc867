"""ADM, its upsampler and its classifier against the official implementation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dimbench import backbone, paths, presets
from dimbench.backbone import Backbone
from dimbench.counting.bill import trace
from dimbench.counting.parameters import count
from dimbench.counting.rules import RULES
from dimbench.diffusion.process import find_process
from dimbench.errors import UsageError
from dimbench.meta import shapes_only
from dimbench.models import adm
from dimbench.presets import Published, Shared
from dimbench.quality import repeating
from dimbench.sampling import guides
from dimbench.sampling.image_cost import image_cost, settings_of
from dimbench.sampling.request import Request
from dimbench.sampling.run import Run
from dimbench.sampling.sample_noise import SampleNoise
from dimbench.weights import catalog
from tests import example
from tests import golden_data as golden
from tests.models import relatives

TIGHT = 2.5e-6
"""Wider, and a group norm with another epsilon would pass."""

TINY = {
    "input_size": 8,
    "model_channels": 32,
    "channel_mult": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (2,),
}


def filled(card: dict[str, Any], case: dict[str, Any]) -> Any:
    """The network of a card, whose names for settings are nearly ours."""
    settings = {"input_size": card["config"]["image_size"]}
    if "low_res_shape" in case:
        settings["low_res_factor"] = case["x_shape"][-1] // case["low_res_shape"][-1]
    return relatives.filled(adm, {**card, "config": {**card["config"], **settings}})


@pytest.mark.parametrize(("name", "file"), relatives.cases("adm-tiny", "adm-tiny-plain", "adm-sr-tiny", "adm-64"))
def test_outputs_of_the_official_model(name: str, file: str) -> None:
    card, case = relatives.card_and_case(name, file)
    model = filled(card, case)
    given = {"y": torch.tensor(case["y"])} if case["y"] else {}
    if "low_res_shape" in case:
        given["low_res"] = golden.unit("input.low_res", *case["low_res_shape"]) * 3**0.5
    with torch.no_grad():
        ours = model(golden.latents(*case["x_shape"]), torch.tensor(case["t"]), **given)
    relatives.agree(ours, file, tolerance=TIGHT)


def test_intermediate_states() -> None:
    card, case = relatives.card_and_case("adm-tiny", "adm-tiny-a.npz")
    model = filled(card, case)
    modules = {
        "time_embed": model.time_embed,
        "input_2_down": model.input_blocks[2],
        "input_3_att": model.input_blocks[3],
        "middle": model.middle_block,
        "output_0": model.output_blocks[0],
    }
    assert set(modules) == set(case["intermediates"])
    with torch.no_grad(), relatives.watched(modules) as seen:
        model(*relatives.halves(case))
    for name, ours in seen.items():
        relatives.agree(ours, "adm-tiny-a.npz", name, TIGHT)


def classifier(**settings: Any) -> Any:
    return adm.Classifier(adm.Config(**settings))


def test_classifier_of_the_official_code() -> None:
    card, case = relatives.card_and_case("adm-classifier-tiny", "adm-classifier-tiny-a.npz")
    known = {**card["config"], "input_size": card["config"]["image_size"]}
    model = classifier(**{name: value for name, value in known.items() if name not in ("cls", "image_size", "pool")})
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == card["state_dict"]
    golden.fill(model.eval())
    with torch.no_grad():
        ours = model(golden.latents(*case["x_shape"]), torch.tensor(case["t"]))
    relatives.agree(ours, "adm-classifier-tiny-a.npz", tolerance=TIGHT)


@pytest.mark.parametrize("side", adm.CLASSIFIERS)
def test_counts_of_the_classifiers(side: int) -> None:
    with shapes_only():
        model = adm.Classifier(adm.CLASSIFIERS[side])
        given = {"x": torch.empty(1, 3, side, side), "t": torch.empty(1)}
    ours = RULES["macs"].macs(trace(model, given, 1))
    relatives.check_row("ADM noise classifier", side, count(model), ours)


@pytest.mark.parametrize(
    ("name", "row", "resolution"),
    [
        ("adm-64", "ADM", 64),
        ("adm-128", "ADM", 128),
        ("adm-256", "ADM", 256),
        ("adm-512", "ADM", 512),
        ("adm-up-256", "ADM upsampler 64->256", 256),
        ("adm-up-512", "ADM upsampler 128->512 (multipliers 1,1,2,2,4,4)", 512),
    ],
)
def test_counts_of_the_official_model(name: str, row: str, resolution: int) -> None:
    relatives.check_counts(name, row, resolution)


def small(**settings: Any) -> Any:
    return golden.fill(adm.build(adm.Config(**{**TINY, **settings})).eval())


def test_every_parameter_learns() -> None:
    model = small(num_classes=10, low_res_factor=2, use_scale_shift_norm=True, resblock_updown=True)
    model(**example.inputs(model, 2)).square().sum().backward()
    assert not [n for n, p in model.named_parameters() if n != "label_emb.weight" and not p.grad.abs().sum()]
    assert (model.label_emb.weight.grad.abs().sum(1) > 0).tolist() == [True] * 2 + [False] * 8


def test_heads_on_the_way_up_can_be_others() -> None:
    model = small(num_heads=2, num_heads_upsample=8)
    heads = {path: module.heads for path, module in model.named_modules() if isinstance(module, adm.AttentionBlock)}
    assert {path.split(".")[0]: number for path, number in heads.items()} == {
        "input_blocks": 2,
        "middle_block": 2,
        "output_blocks": 8,
    }


def test_a_fresh_network_draws_zero() -> None:
    model = adm.build(adm.Config(**TINY)).eval()
    with torch.no_grad():
        assert model(**example.inputs(model, 1)).abs().max() == 0


@pytest.mark.parametrize(
    ("settings", "given", "said"),
    [
        ({"num_classes": 10}, {}, "told no class"),
        ({}, {"y": torch.tensor([1])}, "told a class"),
        ({"low_res_factor": 2}, {}, "told no small image"),
        ({}, {"low_res": torch.zeros(1, 3, 4, 4)}, "told a small image"),
    ],
)
def test_what_it_is_told_is_what_it_was_built_for(
    settings: dict[str, Any], given: dict[str, Tensor], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        small(**settings)(torch.zeros(1, 3, 8, 8), torch.zeros(1), **given)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"input_size": 12}, "side 12 cannot be halved 5 times"),
        ({"model_channels": 48}, "1 x 48 channels"),
        ({"low_res_factor": 3}, "not 3 times another"),
        ({"channel_mult": ()}, "channel_mult is empty"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        adm.Config(**settings)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(UsageError, match="64 channels do not make 7 heads"):
        small(num_heads=7)


@pytest.mark.parametrize("channels", [7, 128])
def test_a_width_of_heads_that_leaves_channels_over_is_refused(channels: int) -> None:
    with pytest.raises(UsageError, match=f"64 channels do not make heads of {channels}"):
        small(num_head_channels=channels)


@pytest.fixture
def guided(monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A small network of ten classes, and a classifier of such images."""
    settings = {name: value for name, value in TINY.items() if name != "input_size"}
    known = adm.Config(**TINY, out_channels=10, num_head_channels=32)  # type: ignore[arg-type]
    monkeypatch.setitem(adm.CLASSIFIERS, 8, known)
    return backbone.find("adm-256", 8, {**settings, "num_head_channels": 32, "num_classes": 10})


def runs(found: Backbone, *texts: str) -> Run:
    network = golden.fill(found.build())
    return Run(found, network, find_process(found.diffusion), settings_of(found, None, 4, 1.0, texts))


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_a_classifier_moves_samples_towards_their_class(guided: Backbone, sampler: str) -> None:
    def drawn(*texts: str) -> Tensor:
        run = runs(guided, *texts)
        run.settings = replace(run.settings, sampler=sampler)
        if run.toward:
            golden.fill(run.toward.classifier)
        with torch.inference_mode():
            return run(SampleNoise(0, range(4)))

    plain = drawn()
    unmoved = drawn("classifier:scale=0,weights=random")
    assert torch.equal(unmoved, plain)
    judge = golden.fill(adm.classifier(guided.config).eval())  # type: ignore[attr-defined]
    y = torch.arange(4)

    def log_probability(x: Tensor) -> Tensor:
        return judge(x, torch.zeros(4)).log_softmax(-1)[y, y].sum()

    with torch.no_grad():
        moved = drawn("classifier:scale=20,weights=random")
        assert log_probability(moved) > log_probability(plain)


def test_the_gradient_is_that_of_the_class(guided: Backbone) -> None:
    toward = runs(guided, "classifier:scale=2,weights=random").toward
    assert toward is not None
    golden.fill(toward.classifier)
    generator = torch.Generator().manual_seed(0)
    x, t, y = torch.randn(2, 3, 8, 8, generator=generator), torch.tensor([3, 700]), torch.tensor([1, 7])
    step = 3e-3 * torch.randn(x.shape, generator=generator)
    rise = [toward.classifier(x + sign * step, t).log_softmax(-1)[[0, 1], y] for sign in (1, -1)]
    slope = (toward(x, t, y) * step).sum((1, 2, 3))
    torch.testing.assert_close(slope, rise[0] - rise[1], rtol=0.01, atol=1e-5)  # group norms are in float32


def test_a_classifier_costs_its_way_there_and_back(guided: Backbone) -> None:
    def macs(*texts: str) -> int:
        return image_cost(guided, settings_of(guided, None, 5, 1.0, texts), decoded=False).macs("macs")

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        judge = adm.classifier(guided.config).requires_grad_(False)  # type: ignore[attr-defined]
        judge(torch.empty(1, 3, 8, 8, requires_grad=True), torch.empty(1)).sum().backward()
    assert 2 * (macs("classifier") - macs()) == 5 * counter.get_total_flops()


def test_a_classifier_that_is_not_there_is_refused(guided: Backbone) -> None:
    with pytest.raises(UsageError, match="give weights=FILE, or weights=random"):
        runs(guided, "classifier")
    for found, said in (
        (backbone.find("dit-digits"), "no classifier of noised images is known for dit-digits"),
        (backbone.find("adm-64", 32), "no classifier of 1000 classes is known for images of side 32"),
    ):
        with pytest.raises(UsageError, match=said):
            image_cost(found, settings_of(found, None, 2, 1.0, ["classifier"]), decoded=False)


def test_a_published_classifier_is_found_once_it_was_fetched(
    guided: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = guides.classifier_of(guided)
    assert name == "adm-classifier-8"
    file = Published(file="8x8_classifier.pt", layout="state dict")
    monkeypatch.setattr(presets, "shared_files", lambda: {name: Shared(name, "", (file,))})
    monkeypatch.setattr(paths, "weights_folder", lambda: tmp_path)
    judge = golden.fill(adm.classifier(guided.config))  # type: ignore[attr-defined]
    torch.save(judge.state_dict(), tmp_path / file.file)
    found = runs(guided, "classifier").toward
    assert found is not None
    assert all(torch.equal(a, b) for a, b in zip(found.classifier.parameters(), judge.parameters(), strict=True))


def test_the_authors_figures_are_drawn_by_their_classifiers() -> None:
    recipe = presets.find_recipe("adm-512-512-classifier-cfg1")
    found = backbone.find("adm-512")
    drawn = repeating.request(recipe, Request(backbone=found, num_images=1, steps=1))
    assert drawn.methods == ("classifier:scale=4.0",)
    assert "weights fetch adm-classifier-512" in repeating.needs(recipe)["classifier"]
    assert [entry.owner for entry in catalog.match(["adm-classifier-512"])] == [guides.classifier_of(found)]
