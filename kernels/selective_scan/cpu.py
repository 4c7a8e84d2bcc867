"""The selective scan by cpu.cpp: float32 or bfloat16 in, states in float32."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from dimbench.kernels import native
from dimbench.kernels.native import Rows, rows


class _Scan(ctypes.Structure):
    """`Scan` of cpu.cpp; `kept` holds what it points to."""

    kept: tuple[Tensor, ...]
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "length", "channels", "states")),
        *((name, Rows) for name in ("u", "delta", "B", "C", "z", "y")),
        *((name, ctypes.c_void_p) for name in ("A", "D", "bias")),
    )


class _Gradients(ctypes.Structure):
    """`Gradients` of cpu.cpp."""

    _fields_ = (
        *((name, Rows) for name in ("y", "u", "delta", "z")),
        *((name, ctypes.c_void_p) for name in ("A", "D", "bias", "B", "C", "starts")),
    )


def _library() -> ctypes.CDLL:
    return native.load(Path(__file__).with_name("cpu.cpp"))


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
    most = _library().selective_scan_max_states()
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
    y = torch.empty(u.shape, dtype=dtype)
    scan = _scan(dtype, u, delta, A, B, C, D, z, delta_bias)
    scan.y = rows(y)
    native.call(_library(), "selective_scan_forward", dtype, scan)
    return y.to(u.dtype)


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
    groups = -(-channels // _library().selective_scan_group())
    chunks = -(-length // _library().selective_scan_chunk())

    grad = native.adjacent(grad, dtype)
    gu, gdelta, gz = (None if t is None else torch.empty(t.shape, dtype=dtype) for t in (u, delta, z))
    gA, starts = torch.empty(batch, states, channels), torch.empty(batch, chunks, states, channels)
    gB, gC = (torch.empty(batch, groups, length, states) for _ in "BC")
    gD, gbias = (torch.empty(batch, channels) for _ in "Db")
    parts = (part.data_ptr() for part in (gA, gD, gbias, gB, gC, starts))
    scan = _scan(dtype, u, delta, A, B, C, D, z, delta_bias)
    gradients = _Gradients(*map(rows, (grad, gu, gdelta, gz)), *parts)
    native.call(_library(), "selective_scan_backward", dtype, scan, gradients)

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
) -> _Scan:
    """The call's description, without outputs."""
    bias = torch.zeros(u.shape[2]) if delta_bias is None else delta_bias
    by_position = [None if t is None else native.adjacent(t, dtype) for t in (u, delta, B, C, z)]
    by_channel = [t.to(torch.float32).contiguous() for t in (A.t(), D, bias)]
    scan = _Scan(*u.shape, A.shape[1], *map(rows, by_position), Rows(), *(t.data_ptr() for t in by_channel))
    scan.kept = (*(t for t in by_position if t is not None), *by_channel)
    return scan
