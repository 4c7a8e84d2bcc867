"""How far images move where nothing but a method changes: the same noise, drawn with it and without it."""

from __future__ import annotations

import math

from torch import Tensor


class Drift:
    """Sums over batches of pairs of what was drawn, plain and otherwise."""

    def __init__(self) -> None:
        self._states = self._state_errors = self._pixel_errors = 0.0
        self._pixels = self._labelled = self._relabelled = 0

    def add(self, plain: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> None:
        """A batch of each: samples as the network draws them, and the uint8 images made of them."""
        (x, images), (y, changed) = plain, other
        self._states += x.double().square().sum().item()
        self._state_errors += (y.double() - x.double()).square().sum().item()
        self._pixel_errors += (changed.double() - images.double()).square().sum().item()
        self._pixels += images.numel()

    def add_labels(self, plain: Tensor, other: Tensor) -> None:
        """What a classifier calls the images of a batch, (N,) each."""
        self._labelled += len(plain)
        self._relabelled += int((plain != other).sum())

    @property
    def metrics(self) -> dict[str, float | None]:
        """`drift`: relative L2 distance of the samples; `psnr` of the images in dB, None where none differs;
        `changed_labels`: the share of images that the classifier calls otherwise, absent without one."""
        mean = self._pixel_errors / self._pixels
        found: dict[str, float | None] = {
            "drift": math.sqrt(self._state_errors / self._states),
            "psnr": 10 * math.log10(255**2 / mean) if mean else None,
        }
        return {**found, "changed_labels": self._relabelled / self._labelled} if self._labelled else found
