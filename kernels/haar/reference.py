"""The 2-D Haar transform in plain torch, the channels innermost in memory so that every sum runs along whole rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def why_not(*inputs: Tensor) -> None:
    """It runs everywhere."""


def forward(x: Tensor, levels: int) -> Tensor:
    x = x.permute(0, 2, 3, 1)
    for _ in range(levels):
        x = _analyse(x)
    return x.mul_(0.5**levels).permute(0, 3, 1, 2)


def inverse(bands: Tensor, levels: int) -> Tensor:
    bands = bands.permute(0, 2, 3, 1)
    for _ in range(levels):
        bands = _synthesise(bands)
    return bands.mul_(0.5**levels).permute(0, 3, 1, 2)


def tokens_forward(tokens: Tensor, places: Tensor, levels: int, gain: float) -> Tensor:
    batch, length, channels = tokens.shape
    side, factor = math.isqrt(length), 2**levels
    bands = forward(tokens.unflatten(1, (side, side)).permute(0, 3, 1, 2), levels).permute(0, 2, 3, 1)
    tiles = _swap_levels(bands, levels).unflatten(3, (channels, factor, factor))
    laid_out = tiles.permute(0, 1, 4, 2, 5, 3).reshape(batch, length, channels)
    return (gain * laid_out)[:, torch.argsort(places)]


def tokens_inverse(bands: Tensor, places: Tensor, levels: int, gain: float) -> Tensor:
    batch, length, channels = bands.shape
    coarse, factor = math.isqrt(length) // 2**levels, 2**levels
    tiles = bands[:, places].reshape(batch, coarse, factor, coarse, factor, channels).permute(0, 1, 3, 5, 2, 4)
    stacked = _swap_levels(tiles.flatten(3), levels).permute(0, 3, 1, 2)
    return gain * inverse(stacked, levels).permute(0, 2, 3, 1).flatten(1, 2)


def _swap_levels(bands: Tensor, levels: int) -> Tensor:
    """Reverses the band axes of (B, i, j, n): the last level slowest for images, the first for tokens."""
    axes = bands.unflatten(-1, (*[4] * levels, -1))
    return axes.permute(0, 1, 2, *range(levels + 2, 2, -1), levels + 3).flatten(3)


def _analyse(x: Tensor) -> Tensor:
    """(B, h, w, C) -> (B, h/2, w/2, 4C), twice the orthonormal bands: LL, LH (top minus bottom), HL, HH."""
    _, height, width, _ = x.shape
    top, bottom = x.unflatten(1, (height // 2, 2)).unflatten(3, (width // 2, 2)).unbind(2)  # (B, h/2, w/2, 2, C)
    (left_sum, right_sum), (left_step, right_step) = (top + bottom).unbind(3), (top - bottom).unbind(3)
    bands = left_sum + right_sum, left_step + right_step, left_sum - right_sum, left_step - right_step
    return torch.cat(bands, dim=-1)


def _synthesise(bands: Tensor) -> Tensor:
    """The inverse of `_analyse`, times four."""
    low, vertical, horizontal, diagonal = bands.chunk(4, dim=-1)
    top, bottom = low + vertical, low - vertical
    top_step, bottom_step = horizontal + diagonal, horizontal - diagonal
    batch, height, width, channels = low.shape
    x = bands.new_empty(batch, height, 2, width, 2, channels)
    x[:, :, 0, :, 0], x[:, :, 0, :, 1] = top + top_step, top - top_step
    x[:, :, 1, :, 0], x[:, :, 1, :, 1] = bottom + bottom_step, bottom - bottom_step
    return x.flatten(3, 4).flatten(1, 2)
