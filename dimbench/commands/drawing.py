"""What `sample` and `fid` share: a network, its weights and a sampler, all checked before the first image is drawn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimbench import paths, presets
from dimbench.commands.emit import stepping
from dimbench.errors import DimbenchError, UsageError
from dimbench.presets import Checkpoint, Preset
from dimbench.weights import catalog

if TYPE_CHECKING:
    from torch import Tensor

    from dimbench.sampling.draw import Settings

Steps = Annotated[int, typer.Option(min=1, help="Sampler steps; for a time grid, its points.")]
Cfg = Annotated[float, typer.Option(help="Scale of classifier-free guidance; 1 is none.")]
Sampler = Annotated[str | None, typer.Option(help="Sampler.", show_default="the family's own")]
Labels = Annotated[
    str | None, typer.Option(help="Class labels such as 3 or 0,1,2, in turn.", show_default="all classes")
]
Seed = Annotated[int, typer.Option(help="Image k depends on the seed and on k alone.")]
Batch = Annotated[int, typer.Option(min=1, help="Images per network call.")]
Device = Annotated[str, typer.Option(help="Where the network runs: cpu, cuda or cuda:N.")]
Weights = Annotated[
    Path | None,
    typer.Option(help="Checkpoint with official key names.", show_default="one that ships or was fetched, if any"),
]
RandomWeights = Annotated[
    bool, typer.Option("--random-weights", help="A dry run with the untrained network: its numbers mean nothing.")
]
Autoencoder = Annotated[
    Path | None,
    typer.Option(help="Folder of the autoencoder that decodes latents.", show_default="sd-vae-ft-ema, if fetched"),
]

AUTOENCODER = "sd-vae-ft-ema"  # with which the published figures were drawn


@dataclass(frozen=True)
class Request:
    """What the user asked to be drawn."""

    name: str
    num_images: int
    steps: int
    cfg: float
    sampler: str | None
    labels: str | None
    seed: int
    batch: int
    resolution: int | None
    device: str
    weights: Path | None
    autoencoder: Path | None
    random_weights: bool

    @cached_property
    def preset(self) -> Preset:
        return presets.find(self.name)

    @property
    def pixels(self) -> int:
        """Side of the images."""
        return self.resolution or self.preset.resolution

    @property
    def published(self) -> list[Checkpoint]:
        """The published files of weights for these images."""
        return [c for c in self.preset.checkpoints if c.ships or c.resolution == self.pixels]

    @cached_property
    def known(self) -> Checkpoint | None:
        """What is known of the weights: the published file of the name given, else the first that is here."""
        if self.weights is not None:
            return next((c for c in self.published if self.weights.name in (c.file, c.original)), None)
        return next((c for c in self.published if catalog.path_of(c).is_file()), None)

    @property
    def checkpoint(self) -> Path | None:
        """The file of weights: the one given, else one that ships or was fetched."""
        return self.weights or (catalog.path_of(self.known) if self.known else None)

    @property
    def decoder(self) -> Path | None:
        """The autoencoder's folder: the one given, else the one fetched, which a dry run leaves out."""
        return self.autoencoder or (None if self.random_weights else catalog.shared(AUTOENCODER))

    def missing(self) -> list[str]:
        """What has to be fetched first: where it lives and which option takes it."""
        if self.random_weights:
            return []
        missing = []
        if self.checkpoint is None:
            published = " or ".join(f"{c.file} from {c.url or c.page or 'an unknown address'}" for c in self.published)
            missing.append(f"--weights FILE: the checkpoint, {published or 'of which none is published'}")
        if self.decoder is None and self.preset.latent_stride > 1:
            home = presets.shared_files()[AUTOENCODER].files[0].page
            missing.append(f"--autoencoder FOLDER: the autoencoder {AUTOENCODER}, {home}")
        return missing

    def class_labels(self, config: Any) -> list[int]:
        """One label per image; for a network that was trained without labels, "no class"."""
        if self.labels is None:
            cycle = [config.null_label] if config.label_dropout >= 1 else list(range(config.num_classes))
        else:
            try:
                cycle = [int(part) for part in self.labels.split(",")]
            except ValueError:
                raise UsageError(f"--labels {self.labels!r} is not understood; give numbers such as 3 or 0,1") from None
        return [cycle[k % len(cycle)] for k in range(self.num_images)]


def refuse_if_missing(what: str, missing: Sequence[str]) -> None:
    """Raise DimbenchError that lists what is missing, if anything is."""
    if missing:
        raise DimbenchError(
            f"{what} needs files that are not here; fetch them with `dimbench weights fetch NAME`, or by hand and give "
            "each with its option, or try the chain dry with --random-weights:"
            + "".join(f"\n  {entry}" for entry in missing)
        )


@dataclass(frozen=True)
class Drawn:
    """uint8 images (n, C, h, w); network calls per image, None where no image had to be drawn; the kernels that ran,
    seconds and images of this run alone."""

    images: Tensor
    network_calls: int | None
    kernels: dict[str, str]
    seconds: float
    fresh: int


class Drawing:
    """A request made ready: everything it needs is loaded and checked."""

    def __init__(self, request: Request) -> None:
        from dimbench import registry
        from dimbench.diffusion.process import find_process, upsampled
        from dimbench.sampling import draw

        self.request = request
        self.preset = request.preset
        self._check_device()
        options = request.known.config if request.known and not request.random_weights else {}
        self.model = registry.create_model(request.name, resolution=request.resolution, **options)
        config: Any = self.model.config
        self.labels = request.class_labels(config)
        diffusion = upsampled(self.preset.diffusion, getattr(config, "upsample_factor", 1))
        self.process = find_process(diffusion)
        self.settings: Settings = draw.Settings(
            sampler=request.sampler or diffusion["sampler"],
            steps=request.steps,
            cfg=request.cfg,
            seed=request.seed,
            guided_channels=diffusion["guided_channels"],
            null_label=config.null_label,
        )
        draw.check(self.settings, self.process, self.labels, config.num_classes)
        self.fingerprint = "random" if request.random_weights else self._load_weights()
        draw.check_finite(self.model)
        self.model = registry.for_inference(self.preset, self.model).to(request.device)
        self.decode = self._decoder()
        self.shape = (config.in_channels, config.input_size, config.input_size)

    def _check_device(self) -> None:
        import torch

        try:
            torch.empty(1, device=self.request.device)
        except (RuntimeError, AssertionError):
            raise UsageError(f"torch cannot use the device {self.request.device!r} here; give --device cpu") from None

    def _load_weights(self) -> str:
        """Fill the network from its file; the first half of a fingerprint of the file."""
        from dimbench import registry

        file = self.request.checkpoint
        assert file is not None, "refuse_if_missing comes first"
        registry.load_checkpoint(self.model, file)
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()[:16]

    def _decoder(self) -> Any:
        from dimbench.sampling import autoencoder

        if self.preset.latent_stride == 1:
            return None
        if self.request.decoder is None:
            return lambda latents: autoencoder.stand_in(latents, self.preset.latent_stride)
        return autoencoder.load_decoder(self.request.decoder, self.request.device)

    @property
    def conditions(self) -> dict[str, Any]:
        """What decides the images."""
        config: Any = self.model.config
        return {
            "resolution": self.request.pixels,
            "weights": self.fingerprint,
            "sampler": self.settings.sampler,
            "steps": self.settings.steps,
            "cfg": self.settings.cfg,
            "upsampling": getattr(self.process, "upsampling", 1),
            "guided_channels": self.settings.guided_channels or "all",
            "seed": self.settings.seed,
            "labels": self.request.labels or ("no class" if config.label_dropout >= 1 else "all classes in turn"),
            "num_images": self.request.num_images,
            "autoencoder": str(self.request.decoder) if self.request.decoder else None,
            "dtype": "float32",
            "device": self.request.device,
        }

    @property
    def warnings(self) -> list[str]:
        """What a reader of the result must know."""
        said = []
        if self.request.random_weights:
            said.append("The weights are random: this ran the chain dry, and the number means nothing.")
        elif self.request.weights is None and self.request.known and len(self.request.published) > 1:
            said.append(f"Of several published files, {self.request.known.file} was taken; --weights names another.")
        if self.decode and not self.request.decoder:
            said.append("No autoencoder was given: three latent channels, enlarged, stand in for the image.")
        if self.settings.sampler == "dopri5" and self.request.num_images > 1:
            said.append(
                f"dopri5 chooses its steps for a batch: images depend on --batch {self.request.batch} slightly."
            )
        return said

    def run(self, part: Path | None = None) -> tuple[Drawn, Any]:
        """Draw into the file `part` (None: one in the cache), going on where an earlier run of the same settings
        stopped; the store is the caller's to remove."""
        from dimbench.data.pixels import to_uint8
        from dimbench.kernels import backends
        from dimbench.sampling import draw
        from dimbench.sampling.store import ImageStore

        stride = self.preset.latent_stride
        shape = self.shape if stride == 1 else (3, self.shape[1] * stride, self.shape[2] * stride)
        identity = {"model": self.preset.name, **self.conditions}
        identity.pop("num_images")
        store = ImageStore(part or _cached(identity), identity, shape)
        batch, total, first = self.request.batch, self.request.num_images, len(store)
        calls: int | None = None
        started = perf_counter()
        with stepping(f"drawing with {self.preset.name}", total, first) as progress, backends.watch() as kernels:

            def on_step(k: int) -> None:
                progress(len(store) + min(batch, total - len(store)) * min(1.0, (k + 1) / self.settings.steps))

            for x, network_calls in draw.draw(
                self.model,
                self.process,
                self.labels,
                self.settings,
                shape=self.shape,
                batch=batch,
                first=first,
                device=self.request.device,
                on_step=on_step,
            ):
                calls = network_calls
                store.append(to_uint8(self.decode(x) if self.decode else x))
                progress(len(store))
        images = store.images()[:total]
        return Drawn(images, calls, kernels, perf_counter() - started, total - first), store


def _cached(identity: dict[str, Any]) -> Path:
    """Where images wait of a run that writes no pictures."""
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    return paths.cache_folder() / "images" / f"{identity['model']}-{key}.part"
