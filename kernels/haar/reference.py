"""The 2-D Haar transform in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def why_not(*inputs: Tensor) -> None:
    """It runs everywhere."""


def forward(x: Tensor, levels: int) -> Tensor:
    for _ in range(levels):
        x = _analyse(x)
    return x if levels else x.clone()


def inverse(bands: Tensor, levels: int) -> Tensor:
    for _ in range(levels):
        bands = _synthesise(bands)
    return bands if levels else bands.clone()


def _analyse(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, 4C, h/2, w/2): all LL, then all LH (top minus bottom), HL (left minus right), HH."""
    top_left, top_right = x[..., 0::2, 0::2], x[..., 0::2, 1::2]
    bottom_left, bottom_right = x[..., 1::2, 0::2], x[..., 1::2, 1::2]
    top, bottom = top_left + top_right, bottom_left + bottom_right
    top_step, bottom_step = top_left - top_right, bottom_left - bottom_right
    bands = top + bottom, top - bottom, top_step + bottom_step, top_step - bottom_step
    return 0.5 * torch.cat(bands, dim=1)


def _synthesise(bands: Tensor) -> Tensor:
    """The inverse of `_analyse`."""
    low, vertical, horizontal, diagonal = (0.5 * bands).chunk(4, dim=1)
    top, bottom = low + vertical, low - vertical
    top_step, bottom_step = horizontal + diagonal, horizontal - diagonal
    batch, channels, height, width = low.shape
    x = bands.new_empty(batch, channels, 2 * height, 2 * width)
    x[..., 0::2, 0::2], x[..., 0::2, 1::2] = top + top_step, top - top_step
    x[..., 1::2, 0::2], x[..., 1::2, 1::2] = bottom + bottom_step, bottom - bottom_step
    return x
