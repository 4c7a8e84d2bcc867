"""The causal convolution with SiLU in Triton: a program takes some positions and channels of one image."""

# mypy: allow-untyped-defs
# Triton takes the types of the arguments from each call.

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _rows(pointer, batch_stride, row_stride, positions, e, length, channels):
    """(positions, channels) of this program's image as float32, zeros outside."""
    inside = ((positions >= 0) & (positions < length))[:, None] & (e < channels)[None, :]
    at = pointer + tl.program_id(0).to(tl.int64) * batch_stride + positions[:, None] * row_stride + e[None, :]
    return tl.load(at, inside, 0.0).to(tl.float32)


@triton.jit
def _before_silu(x, x_batch, x_row, weight, bias, positions, e, length, channels, WIDTH: tl.constexpr):
    total = tl.zeros((positions.shape[0], e.shape[0]), tl.float32) + tl.load(bias + e, e < channels, 0.0)[None, :]
    for tau in tl.static_range(WIDTH):
        taps = tl.load(weight + tau * channels + e, e < channels, 0.0)
        total += taps[None, :] * _rows(x, x_batch, x_row, positions - (WIDTH - 1) + tau, e, length, channels)
    return total


@triton.jit
def forward_kernel(
    x, weight, bias, y, x_batch, x_row, length, channels,
    WIDTH: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Writes y (B, L, E); weight is (W, E)."""
    p = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    e = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    total = _before_silu(x, x_batch, x_row, weight, bias, p, e, length, channels, WIDTH)
    inside = (p < length)[:, None] & (e < channels)[None, :]
    at = (tl.program_id(0).to(tl.int64) * length + p[:, None]) * channels + e[None, :]
    tl.store(y + at, total / (1 + tl.exp(-total)), inside)


@triton.jit
def _gradient(
    gy, gy_batch, gy_row, x, x_batch, x_row, weight, bias, positions, e, length, channels, WIDTH: tl.constexpr,
):  # fmt: skip
    """Of the sum before SiLU; zero past the end, where gy is."""
    total = _before_silu(x, x_batch, x_row, weight, bias, positions, e, length, channels, WIDTH)
    open = 1 / (1 + tl.exp(-total))
    return _rows(gy, gy_batch, gy_row, positions, e, length, channels) * open * (1 + total * (1 - open))


@triton.jit
def backward_kernel(
    gy, x, weight, bias, gx, gweight, gbias, gy_batch, gy_row, x_batch, x_row, length, channels,
    WIDTH: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Writes gx (B, L, E), and one part per chunk of gweight (B, chunks, W, E) and gbias (B, chunks, E).

    Position l adds to the inputs l - W + 1 ... l, so the gradients of W - 1 positions after a chunk are computed again.
    """
    part = tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    p = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    e = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    own = _gradient(gy, gy_batch, gy_row, x, x_batch, x_row, weight, bias, p, e, length, channels, WIDTH)
    tl.store(gbias + part * channels + e, tl.sum(own, 0), e < channels)
    gx_here = tl.zeros((CHUNK, BLOCK), tl.float32)
    for tau in tl.static_range(WIDTH):
        taps = tl.load(weight + tau * channels + e, e < channels, 0.0)
        reached = p + (WIDTH - 1) - tau
        gx_here += taps[None, :] * _gradient(
            gy, gy_batch, gy_row, x, x_batch, x_row, weight, bias, reached, e, length, channels, WIDTH
        )
        seen = _rows(x, x_batch, x_row, p - (WIDTH - 1) + tau, e, length, channels)
        tl.store(gweight + (part * WIDTH + tau) * channels + e, tl.sum(own * seen, 0), e < channels)
    inside = (p < length)[:, None] & (e < channels)[None, :]
    at = (tl.program_id(0).to(tl.int64) * length + p[:, None]) * channels + e[None, :]
    tl.store(gx + at, gx_here, inside)
