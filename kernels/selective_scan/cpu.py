"""The selective scan by cpu.cpp: float32 or bfloat16 in, states in float32."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from dimbench.kernels import native
from dimbench.kernels.native import rows

_SOURCE = Path(__file__).with_name("cpu.cpp")
_WIDEST = 2048  # channels of a task, that what it works on stays in the cache
_STEP = 64  # channels: some whole vectors


def why_not(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
) -> str | None:
    if reason := native.why_not((u, delta, B, C, z), (A, D, delta_bias)):
        return reason
    most = native.constant(_SOURCE, "selective_scan_max_states")
    return f"it takes up to {most} states, not {A.shape[1]}" if A.shape[1] > most else None


def forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> Tensor:
    dtype = native.common_type(u, delta, B, C, z)
    y = torch.empty_like(u, dtype=dtype, memory_format=torch.contiguous_format)
    scan, _kept = _scan(dtype, u, delta, A, B, C, D, z, delta_bias, y)
    native.call(_SOURCE, "selective_scan_forward", dtype, scan)
    return y if y.dtype == u.dtype else y.to(u.dtype)


def backward(
    grad: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> tuple[Tensor | None, ...]:
    dtype = native.common_type(u, delta, B, C, z)
    batch, length, channels = u.shape
    states = A.shape[1]
    groups = -(-channels // _width(batch, channels))
    chunks = -(-length // native.constant(_SOURCE, "selective_scan_chunk"))

    gu, gdelta, gz = (None if t is None else torch.empty(t.shape, dtype=dtype) for t in (u, delta, z))
    gA, starts = torch.empty(batch, states, channels), torch.empty(batch, chunks, states, channels)
    gB, gC = (torch.empty(batch, groups, length, states) for _ in "BC")
    gD, gbias = (torch.empty(batch, channels) for _ in "Db")
    scan, kept = _scan(dtype, u, delta, A, B, C, D, z, delta_bias, None)
    gradients = [n for each in (grad, gu, gdelta, gz) for n in rows(each, dtype, kept)]  # `Gradients` of cpu.cpp
    gradients += [part.data_ptr() for part in (gA, gD, gbias, gB, gC, starts)]
    native.call(_SOURCE, "selective_scan_backward", dtype, scan, gradients)

    wanted = (gu, gdelta, gA.sum(0).t(), gB.sum(1), gC.sum(1), gD.sum(0), gz, gbias.sum(0))
    inputs = (u, delta, A, B, C, D, z, delta_bias)
    return tuple(None if t is None or g is None else g.to(t.dtype) for t, g in zip(inputs, wanted, strict=True))


def _scan(
    dtype: torch.dtype,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    delta_bias: Tensor | None,
    y: Tensor | None,
) -> tuple[list[int], list[Tensor]]:
    """`Scan` of cpu.cpp, and what must live as long."""
    kept: list[Tensor] = []
    scan = [*u.shape, A.shape[1], _width(u.shape[0], u.shape[2])]
    for tensor in (u, delta, B, C, z, y):
        scan += rows(tensor, dtype, kept)
    for tensor in (A.contiguous(), D, u.new_zeros(u.shape[2]) if delta_bias is None else delta_bias):
        kept.append(native.adjacent(tensor, torch.float32))
        scan.append(kept[-1].data_ptr())
    return scan, kept


def _width(batch: int, channels: int) -> int:
    """How many channels a task takes: wide ones touch fewer pages, but all threads need a share of the same size, or
    several of them."""
    threads = torch.get_num_threads()
    parts = -(-channels // _WIDEST)
    while batch * parts % threads and batch * parts < 4 * threads:
        parts *= 2
    return -(-channels // parts // _STEP) * _STEP
