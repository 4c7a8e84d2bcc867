"""How like two pictures of the same thing are: peak signal-to-noise ratio and structural similarity."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d

WINDOW, SIGMA = 11, 1.5  # pixels, of Wang et al. 2004, section III-B
STABILISERS = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)


class PictureLikeness:
    """Sums over pairs of batches of uint8 images (N, C, H, W), a picture and what was made of it."""

    def __init__(self) -> None:
        self._squares = 0.0  # whole numbers, whose sum is exact
        self._pixels = 0
        self._similarities: list[float] = []  # of each picture

    def add(self, real: Tensor, made: Tensor) -> None:
        """A batch of each, of one shape."""
        x, y = real.double(), made.double()
        self._squares += (x - y).square().sum().item()
        self._pixels += x.numel()
        seen = min(x.shape[-2:]) >= WINDOW
        self._similarities += structural_similarity(x, y).tolist() if seen else [math.nan] * len(x)

    def merge(self, other: PictureLikeness) -> None:
        """Add what another has seen; in which order changes no digit."""
        self._squares += other._squares
        self._pixels += other._pixels
        self._similarities += other._similarities

    @property
    def metrics(self) -> dict[str, float | None]:
        """`psnr` in dB of the mean square over all pictures, None where nothing differs; `ssim`, the mean over
        pictures, None for pictures below 11 pixels."""
        mean = self._squares / self._pixels
        similarity = math.fsum(self._similarities) / len(self._similarities)
        return {
            "psnr": 10 * math.log10(255**2 / mean) if mean else None,
            "ssim": None if math.isnan(similarity) else similarity,
        }


def structural_similarity(x: Tensor, y: Tensor) -> Tensor:
    """(N,) means over channels and over all places of a Gaussian window that lie whole in the picture, of values 0 to
    255 in (N, C, H, W): Wang et al. 2004, eq. 13."""
    place = torch.arange(WINDOW, dtype=x.dtype) - WINDOW // 2
    bell = torch.exp(-(place**2) / (2 * SIGMA**2))
    bell = bell / bell.sum()

    def local(values: Tensor) -> Tensor:
        channels = values.flatten(0, 1)[:, None]
        return conv2d(conv2d(channels, bell.view(1, 1, -1, 1)), bell.view(1, 1, 1, -1)).unflatten(0, x.shape[:2])

    a, b = local(x), local(y)
    first, second = STABILISERS
    variances = local(x * x) - a * a + local(y * y) - b * b
    covariance = local(x * y) - a * b
    ratio = (2 * a * b + first) * (2 * covariance + second) / ((a * a + b * b + first) * (variances + second))
    return ratio.flatten(1).mean(dim=1)
