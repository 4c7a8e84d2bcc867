"""What `fid` and `stats` share: features of images and what they are compared with, opened before anything long."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimbench import presets
from dimbench.errors import UsageError
from dimbench.files import digest
from dimbench.progress import doing
from dimbench.quality.protocol import INCEPTION
from dimbench.sampling.ranks import ALONE, Ranks
from dimbench.weights import catalog

if TYPE_CHECKING:
    from torch import Tensor

    from dimbench.quality.evaluate import Evaluation
    from dimbench.quality.features import Extractor
    from dimbench.quality.images import Images
    from dimbench.quality.references import Reference
    from dimbench.quality.summary import FeatureSummary

DIGITS = "digits-classifier"
SIDE_OF_DIGITS = 8
WIDTHS = {INCEPTION: {"pool": 2048, "spatial": 2023, "logits": 1008}}  # of its features, before it is here
AT_ONCE = 256  # images that go through an extractor together where nothing says otherwise


def statistics_name(size: tuple[int, int], data: str = "ImageNet") -> str:
    """What the published statistics of real images of this size are called, whether there are any or not."""
    return f"adm-{data.lower().replace(' ', '-')}-{pixels(size)}"


def pixels(size: tuple[int, int]) -> str:
    """(256, 256) -> "256", (160, 320) -> "160x320"."""
    height, width = size
    return str(height) if height == width else f"{height}x{width}"


def absent_reference(size: tuple[int, int], data: str = "ImageNet") -> str:
    """Where the reference statistics are to be had."""
    published = presets.shared_files().get(statistics_name(size, data))
    home = published.files[0].url if published else f"none is published for {data} at {pixels(size)} pixels"
    return f"--reference FILE: the reference statistics, {home}; or make them with `dimbench stats`"


def absent_inception() -> str:
    """Where the weights of the Inception network are to be had."""
    file = presets.shared_files()["inception"].files[0]
    return f"--inception FILE: the weights of the Inception network, {file.file} from {file.page}"


@dataclass(frozen=True)
class Networks:
    """By whose features images are compared: an extractor's name, behind a colon its weights where it has no option of
    its own, and files of weights, None where left open."""

    extractor: str | None = None
    inception: Path | None = None
    vgg: Path | None = None
    lpips: Path | None = None
    prompts: Path | None = None

    def named(self, size: tuple[int, int]) -> Networks:
        """With an extractor: the digits classifier for images of 8 x 8 pixels, Inception for all others.

        Raises UsageError for an unknown one, or one that has no use for --inception.
        """
        from dimbench.quality.features import check_name

        digits = size == (SIDE_OF_DIGITS, SIDE_OF_DIGITS) and self.inception is None
        name = self.extractor or (DIGITS if digits else INCEPTION)
        check_name(name.partition(":")[0])
        if self.inception and name != INCEPTION:
            raise UsageError(f"--inception gives weights of {INCEPTION}, not of {name}; leave it or --extractor out")
        return replace(self, extractor=name)

    def found(self, size: tuple[int, int]) -> Networks:
        """With an extractor, and with the files that were fetched; Inception's company alone is looked for."""
        named = self.named(size)
        if named.extractor != INCEPTION:
            return named
        inception, vgg = self.inception or catalog.shared("inception"), self.vgg or catalog.shared("vgg16")
        return replace(named, inception=inception, vgg=vgg)

    def check_prompts(self, images: int) -> None:
        """Raise UsageError for texts that are not one for each of so many images, or that no CLIP reads."""
        from dimbench.quality.clip import CLIPExtractor
        from dimbench.quality.clip_score import read_prompts

        if self.prompts and (self.extractor or "").partition(":")[0] != CLIPExtractor.name:
            raise UsageError(
                f"--prompts {self.prompts} is read by CLIP alone; give --extractor {CLIPExtractor.name}:FOLDER"
            )
        if self.prompts and (lines := len(read_prompts(self.prompts))) != images:
            raise UsageError(f"--prompts {self.prompts} has {lines} lines for {images} images; give one line for each")

    def texts(self, device: str) -> Tensor | None:
        """The embeddings of the texts, None where there are none."""
        from dimbench.quality.clip_score import embedded, read_prompts

        if not self.prompts or not self.extractor:
            return None
        return embedded(read_prompts(self.prompts), Path(self.extractor.partition(":")[2]), device)

    @property
    def missing(self) -> list[str]:
        """What has to be fetched first."""
        return [absent_inception()] if self.extractor == INCEPTION and self.inception is None else []

    def open(self, device: str) -> Extractor:
        """The extractor, with VGG beside it where there are weights. Raises as create_extractor does."""
        from dimbench.quality.features import create_extractor
        from dimbench.quality.vgg import WithVGG

        assert self.extractor is not None, "named comes first"
        name, _, weights = self.extractor.partition(":")
        with doing(f"loading {name}"):
            extractor = create_extractor(name, Path(weights) if weights else self.inception, device)
            return WithVGG(extractor, self.vgg, device) if self.vgg else extractor


def opened_reference(place: Path | None, size: tuple[int, int]) -> Reference | None:
    """The reference at `place`, None where none is given. Raises UsageError where it is of another size than `size`."""
    from dimbench.quality.references import read_reference

    if place is None:
        return None
    with doing(f"reading {place.name}"):
        found = read_reference(place)
        found.check_size(size)
        return found


def summarised(images: Images, extractor: Extractor, keep: int | None, batch: int, here: Ranks) -> FeatureSummary:
    """What the metrics need of images on disk, with a progress bar; the ranks `here` share them out."""
    from dimbench.quality.shared_features import looked_at

    with here.bar(f"features of {images.path.name}", images.count) as progress:
        return looked_at(images, extractor, keep, batch, progress, here)


class Against:
    """Real images and the features by which images of `size` are compared with them, opened and checked."""

    def __init__(
        self,
        size: tuple[int, int],
        reference: Reference | None,
        networks: Networks,
        device: str = "cpu",
        dry: bool = False,
        here: Ranks = ALONE,
    ) -> None:
        from dimbench.quality import references
        from dimbench.quality.vgg import WithVGG

        self.size, self.here = size, here
        side = (SIDE_OF_DIGITS, SIDE_OF_DIGITS)
        self.shrink = dry and networks.inception is None and size != side
        self.extractor = (replace(networks, extractor=DIGITS) if self.shrink else networks).open(device)
        self.reference = references.held_back_digits() if self.shrink or reference is None else reference
        self.warnings = self.reference.check(self.extractor, side if self.shrink else size)
        self.warnings += filter(None, [getattr(self.extractor, "doubt", "")])
        self.prompts, self.texts = networks.prompts, networks.texts(device)
        if isinstance(self.extractor, WithVGG) and not self.reference.has_vgg:
            self.extractor = self.extractor.extractor
            self.warnings.append("Precision and recall by VGG were not measured: the reference gives no such features.")
        if self.shrink:
            self.warnings.append("No Inception weights were given: the digits classifier stands in, on 8 x 8 pixels.")

    @cached_property
    def known(self) -> FeatureSummary:
        """What the metrics need of the real images."""
        if not self.reference.images_to_read:
            return self.reference.summary(self.extractor, AT_ONCE)
        with self.here.bar(f"features of {self.reference.name}", self.reference.images_to_read) as progress:
            return self.reference.summary(self.extractor, AT_ONCE, progress, self.here)

    @property
    def widths(self) -> dict[str, int]:
        """How many numbers there are in the features of an image, by kind."""
        import torch

        probe = self._seen(torch.zeros(1, 3, *self.size, dtype=torch.uint8))
        return {kind: found.shape[1] for kind, found in self.extractor.features(probe).items()}

    @property
    def conditions(self) -> dict[str, Any]:
        """What decides the figures besides the images."""
        return {**self.files, "reference_images": self.known.pool.n}

    @property
    def files(self) -> dict[str, Any]:
        """The conditions that are known before the real images are looked at."""
        from dimbench.quality.vgg import vgg_sha256

        return {
            "reference": self.reference.name,
            "reference_sha256": self.reference.sha256[:16],
            "extractor": self.extractor.name,
            "extractor_sha256": self.extractor.sha256[:16],
            "resize": self.extractor.resize,
            **({"vgg_sha256": vgg[:16]} if (vgg := vgg_sha256(self.extractor)) else {}),
            **({"prompts_sha256": digest(self.prompts)[:16]} if self.prompts else {}),
        }

    def evaluate(self, batches: Iterable[Tensor], total: int, bar: str = "") -> tuple[Evaluation, str]:
        """All metrics of `total` images that come in batches, and the SHA-256 of their pixels; `bar` names a progress
        bar where whoever makes the images shows none."""
        from dimbench.quality.summary import summarise

        seen = map(self._seen, batches)
        with self.here.bar(bar, total) if bar else nullcontext() as progress:
            return self._evaluated(summarise(self.extractor, seen, total, on_images=progress))

    def evaluate_shared(
        self, batches: Iterable[tuple[int, Tensor]], total: int, size: int, bar: str = ""
    ) -> tuple[Evaluation, str]:
        """The same of `total` images in numbered batches of `size`, of which each rank is given some."""
        from dimbench.quality.shared_features import summarise_shared

        seen = ((number, self._seen(batch)) for number, batch in batches)
        with self.here.bar(bar, total) if bar else nullcontext() as progress:
            return self._evaluated(summarise_shared(self.extractor, seen, total, size, self.here, on_images=progress))

    def evaluate_images(self, images: Images, name: str) -> tuple[Evaluation, str]:
        """The same of images on disk."""
        from dimbench.quality.shared_features import looked_at

        with self.here.bar(f"features of {name}", images.count) as progress:
            return self._evaluated(looked_at(images, self.extractor, None, AT_ONCE, progress, self.here))

    def _evaluated(self, summary: FeatureSummary) -> tuple[Evaluation, str]:
        from dimbench.quality.clip_score import clip_score
        from dimbench.quality.cmmd import clip_discrepancy
        from dimbench.quality.evaluate import evaluate

        found, own = evaluate(summary, self.known, self.here), self.extractor.distance
        named = {f"{own}{n[3:]}" if n.startswith("fid") else n: value for n, value in found.metrics.items()}
        if own == "fd_clip" and summary.features is not None and self.known.features is not None:
            named["cmmd"] = clip_discrepancy(summary.features, self.known.features)
        if self.texts is not None and summary.features is not None:
            named["clip_score"] = clip_score(summary.features, self.texts)
        return replace(found, metrics=named), summary.pixels_sha256 or ""

    def _seen(self, images: Tensor) -> Tensor:
        """The images as the extractor gets them: shrunk where it only stands in."""
        from torch.nn.functional import adaptive_avg_pool2d

        if not self.shrink:
            return images
        return adaptive_avg_pool2d(images.float(), SIDE_OF_DIGITS).round().byte()
