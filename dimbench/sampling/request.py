"""What is asked to be drawn, and what is missing for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dimbench.errors import DimbenchError, UsageError
from dimbench.presets import Checkpoint
from dimbench.sampling import decoding
from dimbench.weights import catalog

if TYPE_CHECKING:
    from dimbench.backbone import Backbone
    from dimbench.sampling.labels import Labels


DRY = ", or try the chain dry with --random-weights"


def draws_pictures(backbone: Backbone) -> bool:
    """Whether its samples are pictures or their latents; clips, voxels and action sequences are neither."""
    return len(backbone.state) == 3 and (backbone.stride > 1 or backbone.state[0] in (1, 3))


def draws_clips(backbone: Backbone) -> bool:
    """Whether its samples are latents of clips that an autoencoder of pictures decodes frame by frame."""
    space = decoding.space_of(backbone)
    return draws_latent_clips(backbone) and (space.channels, space.temporal_stride) == (backbone.state[0], 1)


def draws_latent_clips(backbone: Backbone) -> bool:
    """Whether its samples are latents of clips, of any autoencoder."""
    return len(backbone.state) == 4 and backbone.stride > 1


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked to be drawn. `latents` are not decoded; of an `extendable` run more may be asked later, so
    that its last batch is full as well; `methods` are texts that methods.parse takes."""

    backbone: Backbone
    num_images: int
    steps: int
    cfg: float = 1.0
    sampler: str | None = None
    labels: str | None = None
    seed: int = 0
    batch: int = 64
    device: str = "cpu"
    weights: Path | None = None
    autoencoder: str | None = None
    random_weights: bool = False
    dtype: str = "fp32"
    compile: bool = False
    cuda_graph: bool = False
    latents: bool = False
    extendable: bool = False
    methods: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.weights and self.random_weights:
            raise UsageError(f"--weights {self.weights} and --random-weights contradict each other; leave one out")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images in pixels."""
        height, width = self.backbone.state[-2:]
        return height * self.backbone.stride, width * self.backbone.stride

    @property
    def numbers(self) -> bool:
        """Whether samples stay the numbers that the network draws, and do not become pixels."""
        return self.latents or not (draws_pictures(self.backbone) or draws_clips(self.backbone))

    @property
    def published(self) -> list[Checkpoint]:
        """The published files of weights for these images, which may be drawn larger than the weights were made for."""
        if self.backbone.preset is None:
            return []
        made_for = self.size[0] // self.backbone.diffusion.get("upsampling", 1)
        return [c for c in self.backbone.preset.checkpoints if c.ships or c.resolution == made_for]

    @cached_property
    def known(self) -> Checkpoint | None:
        """What is known of the weights: the published file of the name given, else the first that is here."""
        if self.weights is not None:
            return next((c for c in self.published if self.weights.name in (c.file, c.original)), None)
        return next((c for c in self.published if catalog.path_of(c).is_file()), None)

    @property
    def checkpoint(self) -> Path | None:
        """The weights: those given, else a file that ships or was fetched, else those that the model's name means."""
        return self.weights or (catalog.path_of(self.known) if self.known else self.backbone.weights)

    @property
    def has_weights(self) -> bool:
        """Whether the network comes with its weights, and no others are given."""
        return self.checkpoint is None and getattr(self.backbone, "in_hand", False)

    @property
    def fitted(self) -> Backbone:
        """The backbone with what its weights need: a published file may have other classes than the variant."""
        return self.backbone.fitted(self.known.config) if self.known and not self.random_weights else self.backbone

    @property
    def decodes(self) -> bool:
        """Whether pictures or clips are made of latents."""
        return self.backbone.stride > 1 and not self.numbers

    @property
    def decoder(self) -> str | None:
        """The autoencoder that is used: the one given or that of its latents, which a dry run leaves out."""
        if not self.decodes:
            return None
        if self.autoencoder or self.random_weights:
            return self.autoencoder
        return decoding.short_name(decoding.space_of(self.backbone).name)

    def missing(self) -> list[str]:
        """What has to be fetched first: where it lives and which option takes it. UsageError for options that have no
        meaning for this model."""
        self._check_latents()
        missing = []
        if self.checkpoint is None and not (self.random_weights or self.has_weights):
            published = " or ".join(f"{c.file} from {catalog.home(c)}" for c in self.published)
            missing.append(f"--weights FILE: the checkpoint, {published or 'of which none is published'}")
        elif self.weights is None and self.known is None and not self.random_weights:
            from dimbench.weights.opening import holds_weights

            folder = self.backbone.weights
            if folder and not holds_weights(folder):
                missing.append(f"--weights FILE: the checkpoint, of which {folder} holds none")
        return missing + (decoding.missing(self.decoder) if self.decoder else [])

    def _check_latents(self) -> None:
        if self.latents and self.backbone.stride == 1:
            raise UsageError(f"{self.backbone.name} draws pixels and has no latents; give --as npz or png")
        if self.autoencoder and not self.decodes:
            pixels = self.backbone.stride == 1
            what = f"{self.backbone.name} draws pixels" if pixels else "latents are kept as they are"
            raise UsageError(f"--autoencoder {self.autoencoder} has nothing to decode: {what}; leave it out")

    @property
    def label_rule(self) -> Labels | None:
        """Which label each image gets; None where the network is told none. UsageError for labels it does not know."""
        if classes := self.fitted.classes:
            from dimbench.sampling.labels import find_labels

            return find_labels(self.labels, classes, self.seed)
        if self.labels:
            raise UsageError(f"{self.backbone.name} is told no class; leave out --labels {self.labels}")
        return None

    def check_methods(self, texts: Sequence[str]) -> None:
        """Raise UsageError where the images cannot be drawn by these methods, before anything is read."""
        from dimbench.sampling.image_cost import check_methods

        check_methods(self.backbone, self.sampler, self.steps, self.cfg, texts)


def refuse_if_missing(what: str, missing: Sequence[str], instead: str = "") -> None:
    """Raise DimbenchError that lists what is missing, if anything is, and what can be done `instead`."""
    if missing:
        raise DimbenchError(
            f"{what} needs files that are not here; fetch them with `dimbench weights fetch NAME`, or by hand and give "
            f"each with its option{instead}:" + "".join(f"\n  {entry}" for entry in missing)
        )
