"""The Haar transform by cpu.cpp: float32 or bfloat16 in, sums in float32."""

from __future__ import annotations

import ctypes
import math
import struct
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from dimbench.kernels import native

_SOURCE = Path(__file__).with_name("cpu.cpp")


def why_not(x: Tensor, places: Tensor | None = None) -> str | None:
    if reason := native.why_not((x,), (places,)):
        return reason
    native.load(_SOURCE)
    return None


def forward(x: Tensor, levels: int) -> Tensor:
    batch, channels, height, width = x.shape
    side = 2**levels
    image = native.adjacent(x.permute(0, 2, 3, 1), x.dtype)
    bands = torch.empty(batch, height // side, width // side, channels * side**2, dtype=x.dtype)
    _run("haar_forward", image, bands.flatten(1, 2), levels)
    return bands.permute(0, 3, 1, 2)


def inverse(bands: Tensor, levels: int) -> Tensor:
    batch, channels, down, across = bands.shape
    side = 2**levels
    rows = native.adjacent(bands.permute(0, 2, 3, 1).flatten(1, 2), bands.dtype)
    image = torch.empty(batch, down * side, across * side, channels // side**2, dtype=bands.dtype)
    _run("haar_inverse", image, rows, levels)
    return image.permute(0, 3, 1, 2)


def tokens_forward(tokens: Tensor, places: Tensor, levels: int, gain: float) -> Tensor:
    bands = torch.empty(tokens.shape, dtype=tokens.dtype)
    _run("haar_forward", _grid(native.adjacent(tokens, tokens.dtype)), bands, levels, gain, places)
    return bands


def tokens_inverse(bands: Tensor, places: Tensor, levels: int, gain: float) -> Tensor:
    tokens = torch.empty(bands.shape, dtype=bands.dtype)
    _run("haar_inverse", _grid(tokens), native.adjacent(bands, bands.dtype), levels, gain, places)
    return tokens


def _grid(tokens: Tensor) -> Tensor:
    side = math.isqrt(tokens.shape[1])
    return tokens.unflatten(1, (side, side))


def _run(
    function: str, image: Tensor, bands: Tensor, levels: int, gain: float = 1.0, places: Tensor | None = None
) -> None:
    """Between an image (B, h, w, C) and rows (B, tiles or tokens, ...) of its bands, both with adjacent elements."""
    batch, height, width, channels = image.shape
    side, slots = 2**levels, _slots(levels, first_slowest=places is not None)
    places = None if places is None else places.contiguous()
    haar = [
        *(batch, height // side, width // side, channels, side),
        *image.stride()[:3],
        *(image.data_ptr(), bands.data_ptr()),
        *bands.stride()[:2],
        *(ctypes.addressof(slots), 0 if places is None else places.data_ptr()),
        *struct.unpack("q", struct.pack("d", gain / side)),  # what makes the sums of 4^levels terms orthonormal
    ]  # `Haar` of cpu.cpp
    native.call(_SOURCE, function, image.dtype, haar)


@cache
def _slots(levels: int, first_slowest: bool) -> ctypes.Array[ctypes.c_int64]:
    """The band that each pixel's place in a tile, row-major, becomes: that of a level is row bit + 2 x column bit."""
    side = 2**levels
    numbers = []
    for row in range(side):
        for column in range(side):
            bands = [(row >> level & 1) + 2 * (column >> level & 1) for level in range(levels)]
            ordered = reversed(bands) if first_slowest else bands
            numbers.append(sum(band * 4**place for place, band in enumerate(ordered)))
    return (ctypes.c_int64 * side**2)(*numbers)
