"""DiMSUM's wavelet domain: Haar packets of a token grid, laid out on the grid again."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from dimbench.kernels.haar import haar, haar_inverse

# The official filters are float32 products of 0.70710677, a little under 1/2.
FILTER = float(np.float32(0.70710677) ** 2)


def _gain(levels: int) -> float:
    """What the official transform has on top of the orthonormal one: its filters' rounding and a half per level."""
    return (2 * FILTER) ** levels / 2**levels


def to_wavelets(tokens: Tensor, levels: int = 2) -> Tensor:
    """(N, L, C) tokens of a G x G grid -> the same shape in the wavelet domain.

    With n = subband C + channel counted over all subbands (level-1 band first), the value of (n, coarse row i, coarse
    column j) stands in feature n // f^2 of token (f i + (n mod f^2) // f, f j + n mod f), f = 2^levels: a tile of
    tokens holds one coarse position, and it is the channels that are spread over the tile.
    """
    batch, length, channels = tokens.shape
    side, factor = math.isqrt(length), 2**levels
    coarse = side // factor
    bands = _gain(levels) * haar(tokens.unflatten(1, (side, side)).permute(0, 3, 1, 2), levels)
    bands = _swap_levels(bands.permute(0, 2, 3, 1), levels)
    tiles = bands.reshape(batch, coarse, coarse, channels, factor, factor)
    return tiles.permute(0, 1, 4, 2, 5, 3).reshape(batch, length, channels)


def from_wavelets(tokens: Tensor, levels: int = 2) -> Tensor:
    """The inverse of `to_wavelets`, with the official filters' rounding once more."""
    batch, length, channels = tokens.shape
    side, factor = math.isqrt(length), 2**levels
    coarse = side // factor
    tiles = tokens.reshape(batch, coarse, factor, coarse, factor, channels).permute(0, 1, 3, 5, 2, 4)
    bands = _swap_levels(tiles.reshape(batch, coarse, coarse, channels * 4**levels), levels)
    image = haar_inverse(bands.permute(0, 3, 1, 2), levels) * ((2 * FILTER) ** levels * 2**levels)
    return image.permute(0, 2, 3, 1).reshape(batch, length, channels)


def _swap_levels(bands: Tensor, levels: int) -> Tensor:
    """The operator counts the last level slowest, the layout the first level: reverse the band axes of (N, i, j, n)."""
    axes = bands.unflatten(-1, (*[4] * levels, -1))
    return axes.permute(0, 1, 2, *range(levels + 2, 2, -1), levels + 3).flatten(3)


class HaarFilters(nn.Module):
    """The four analysis filters, each (1, 1, 2, 2): buffers that official checkpoints carry."""

    def __init__(self) -> None:
        super().__init__()
        for name, band in zip(("w_ll", "w_lh", "w_hl", "w_hh"), _filters(), strict=True):
            self.register_buffer(name, band[None])


class InverseHaarFilters(nn.Module):
    """The synthesis filters (4, 1, 2, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filters", _filters())


def _filters() -> Tensor:
    signs = [[[1, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]]
    return FILTER * torch.tensor(signs, dtype=torch.float32)[:, None]
