"""What the metrics need to know of a set of images, gathered while the images stream by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from dimbench.errors import DimbenchError
from dimbench.quality.features import Extractor, Features, as_rgb
from dimbench.quality.inception_score import SPLITS, RunningScore
from dimbench.quality.statistics import RunningStatistics, Statistics


@dataclass(frozen=True)
class FeatureSummary:
    """A set of images: `pool` and, where there are any, `spatial` statistics; `features` (k, D) of its images, or of
    some of them, for KID, precision and recall, and of the same images by `vgg`; mean and deviation of its Inception
    `score`; the SHA-256 of its pixels, as RGB. None stands for what is not known."""

    pool: Statistics
    spatial: Statistics | None = None
    features: Tensor | None = None
    score: tuple[float, float] | None = None
    pixels_sha256: str | None = None
    vgg: Tensor | None = None


class Summariser:
    """Sums over the features of `total` images that come in batches, and `keep` of the features themselves, evenly
    spread (None: all). Memory: 4 bytes for each feature kept, nothing else that grows with the images."""

    def __init__(self, total: int, keep: int | None = None) -> None:
        self.total, self.n = total, 0
        self.keep = total if keep is None else min(keep, total)
        self.running: dict[str, RunningStatistics] = {}
        self.score = RunningScore(total) if total >= SPLITS else None
        self.kept: dict[str, list[Tensor]] = {"pool": [], "vgg": []}

    def update(self, features: Features) -> None:
        """Add the features of a batch. Raises as RunningStatistics does."""
        for name in features.keys() & {"pool", "spatial"}:
            if name not in self.running:
                self.running[name] = RunningStatistics(features[name].shape[1])
            self.running[name].update(features[name])
        if self.score and "logits" in features:
            self.score.update(features["logits"])
        image = torch.arange(self.n, self.n + len(features["pool"]))
        chosen = (image + 1) * self.keep // self.total > image * self.keep // self.total
        for name in features.keys() & self.kept.keys():
            self.kept[name].append(features[name][chosen])
        self.n += len(image)

    def result(self, pixels_sha256: str | None = None) -> FeatureSummary:
        """The summary. Raises UsageError for fewer than 2 images, DimbenchError where some did not come."""
        if self.n != self.total:
            raise DimbenchError(f"{self.n} images came where {self.total} were announced: look at the images.")
        return FeatureSummary(
            self.running["pool"].result(),
            self.running["spatial"].result() if "spatial" in self.running else None,
            torch.cat(self.kept["pool"]) if self.keep else None,
            self.score.result() if self.score and self.score.n else None,
            pixels_sha256,
            torch.cat(self.kept["vgg"]) if self.keep and self.kept["vgg"] else None,
        )


def summarise(
    extractor: Extractor,
    batches: Iterable[Tensor],
    total: int,
    keep: int | None = None,
    on_images: Callable[[int], None] | None = None,
) -> FeatureSummary:
    """The summary of `total` uint8 images, in batches (N, 3, H, W) or (N, 1, H, W); `on_images(n)` follows them."""
    summariser, pixels = Summariser(total, keep), hashlib.sha256()
    for batch in batches:
        images = as_rgb(batch)
        pixels.update(pixel_bytes(images))
        summariser.update(extractor.features(images))
        if on_images:
            on_images(summariser.n)
    return summariser.result(pixels.hexdigest())


def pixel_bytes(images: Tensor) -> bytes:
    """Of uint8 images (N, 3, H, W), image by image and row by row, the channels innermost."""
    return images.permute(0, 2, 3, 1).numpy().tobytes()


def summary_of(features: Features) -> FeatureSummary:
    """The summary of a whole set of features at hand."""
    summariser = Summariser(len(features["pool"]))
    summariser.update(features)
    return summariser.result()
