"""What the metrics need to know of a set of images, gathered while the images stream by."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dimbench.errors import DimbenchError
from dimbench.quality.feature_rows import Table
from dimbench.quality.features import Extractor, Features, as_rgb
from dimbench.quality.inception_score import SPLITS, RunningScore
from dimbench.quality.statistics import RunningStatistics, Statistics


@dataclass(frozen=True)
class FeatureSummary:
    """A set of images: `pool` and, where there are any, `spatial` statistics; `features` (k, D) of its images, or of
    some of them, for KID, precision and recall, and of the same images by `vgg`; mean and deviation of its Inception
    `score`; the SHA-256 of the SHA-256s of its images, as RGB. None stands for what is not known."""

    pool: Statistics
    spatial: Statistics | None = None
    features: Table | None = None
    score: tuple[float, float] | None = None
    pixels_sha256: str | None = None
    vgg: Table | None = None


BLOCKS = (
    64  # into which the batches of a set are cut, each summed by itself: whoever sums them, the digits are the same
)


def blocks(batches: int) -> Sequence[range]:
    """The numbers of the batches, cut into consecutive blocks."""
    every = math.ceil(batches / BLOCKS)
    return [range(start, min(start + every, batches)) for start in range(0, batches, every)]


class Summariser:
    """Sums over the features of `total` images that come in batches, and `keep` of the features themselves, evenly
    spread (None: all), the images being those from `first` on. Memory: 4 bytes for each feature kept, nothing else
    that grows with the images."""

    def __init__(self, total: int, keep: int | None = None, first: int = 0) -> None:
        self.total, self.first, self.n = total, first, 0
        self.keep = total if keep is None else min(keep, total)
        self.running: dict[str, RunningStatistics] = {}
        self.score = RunningScore(total, first=first) if total >= SPLITS else None
        self.kept: dict[str, list[Tensor]] = {"pool": [], "vgg": []}

    def update(self, features: Features) -> None:
        """Add the features of a batch. Raises as RunningStatistics does."""
        for name in features.keys() & {"pool", "spatial"}:
            if name not in self.running:
                self.running[name] = RunningStatistics(features[name].shape[1])
            self.running[name].update(features[name])
        if self.score and "logits" in features:
            self.score.update(features["logits"])
        image = torch.arange(self.n, self.n + len(features["pool"])) + self.first
        for name in features.keys() & self.kept.keys():
            self.kept[name].append(features[name][chosen(image, self.keep, self.total)])
        self.n += len(image)

    def merge(self, following: Summariser) -> None:
        """Add all that another of the same set has seen, whose images come next."""
        for name, running in following.running.items():
            self.running.setdefault(name, RunningStatistics(len(running.mean))).merge(running)
        if self.score and following.score:
            self.score.merge(following.score)
        for name, kept in following.kept.items():
            self.kept[name] += kept
        self.n += following.n

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
    whole, part, pixels, every = Summariser(total, keep), Summariser(total, keep), hashlib.sha256(), 0
    for number, batch in enumerate(batches, 1):
        images = as_rgb(batch)
        every = every or len(blocks(math.ceil(total / len(images)))[0])
        pixels.update(image_digests(images).numpy().tobytes())
        part.update(extractor.features(images))
        if on_images:
            on_images(whole.n + part.n)
        if number % every == 0:
            whole.merge(part)
            part = Summariser(total, keep, first=whole.n)
    whole.merge(part)
    return whole.result(pixels.hexdigest())


def image_digests(images: Tensor) -> Tensor:
    """uint8 (N, 32), the SHA-256 of each of the uint8 images (N, 3, H, W), taken row by row, the channels innermost."""
    rows = images.permute(0, 2, 3, 1).contiguous().numpy()
    return torch.from_numpy(np.stack([np.frombuffer(hashlib.sha256(image).digest(), np.uint8) for image in rows]))


def chosen(images: Tensor, keep: int, total: int) -> Tensor:
    """Which of the images (n,) are among `keep` of the `total`, evenly spread."""
    return (images + 1) * keep // total > images * keep // total


def summary_of(features: Features) -> FeatureSummary:
    """The summary of a whole set of features at hand."""
    summariser = Summariser(len(features["pool"]))
    summariser.update(features)
    return summariser.result()
