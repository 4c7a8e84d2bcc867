"""What each of several ranks has to do, to keep and to tell, said before it begins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dimbench import units
from dimbench.quality.summary import BLOCKS

SUMMED = ("pool", "spatial")  # kinds of features of which a mean and a covariance are kept
NUMBER = 8  # bytes, in float64


@dataclass(frozen=True)
class Spread:
    """`sets` of `images` in batches of `batch` among `ranks`, who share `folder` or do not. `widths` gives how many
    numbers are in the features of an image by kind, none where that is not known; it is None where no features are
    taken. `image_bytes` are those on disk, where the images of all sets wait for the last."""

    ranks: int
    images: int
    batch: int
    image_bytes: int
    widths: Mapping[str, int] | None
    folder: Path
    common: bool
    sets: int = 1

    @property
    def batches(self) -> int:
        """How many there are in a set."""
        return math.ceil(self.images / self.batch)

    @property
    def most(self) -> int:
        """The most batches of a set that one rank takes where all are equally fast."""
        return math.ceil(self.batches / self.ranks)

    @property
    def feature_bytes(self) -> int:
        """Of the features of all images, in float32, and of the images' hashes."""
        return self.sets * self.images * (4 * sum((self.widths or {}).values()) + 32)

    @property
    def wire_bytes(self) -> int:
        """The blocks' sums to the first rank and the whole ones to all; without a common folder all features, too."""
        sums = NUMBER * sum(width * (width + 1) for kind, width in (self.widths or {}).items() if kind in SUMMED)
        told = min(BLOCKS, self.batches) * (self.ranks - 1) // self.ranks + self.ranks - 1
        return self.sets * told * sums + (0 if self.common else (self.ranks - 1) * self.feature_bytes)

    def rows(self) -> list[tuple[str, str]]:
        """Lines of a plan."""
        own_files = "its own images" if self.image_bytes else "all features"
        place = f"share {self.folder}" if self.common else f"do not share {self.folder}: each keeps {own_files}"
        own = self.sets * self.image_bytes * (self.images if self.common else self.most * self.batch)
        of_each = " of a set" if self.sets > 1 else ""
        unknown = "not known before the extractor is here"
        features = f"{units.size(self.feature_bytes) if self.widths else unknown} of features"
        kept = f"{units.size(own)} of images and {features}" if own else features
        shared = (
            "ranks",
            f"{self.ranks}, of whom each takes about {self.most} of {self.batches} batches{of_each}; they {place}",
        )
        if self.widths is None:
            return [shared]
        return [
            shared,
            ("disk", f"{kept}, {'for all' if self.common else 'each'}"),
            ("on the wire", f"{units.size(self.wire_bytes)} between ranks" if self.widths else unknown),
        ]
