"""The selective scan by triton_kernels.py: float32, float16 or bfloat16 in, states in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dimbench.kernels import on_triton

_MAX_STATES = 64  # a program holds CHUNK x BLOCK x states numbers of several kinds at once
_CHUNK, _BLOCK = 16, 4


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
    if reason := on_triton.why_not((u, delta, B, C, z), (A, D, delta_bias)):
        return reason
    return f"it takes up to {_MAX_STATES} states, not {A.shape[1]}" if A.shape[1] > _MAX_STATES else None


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
    from dimbench.kernels.selective_scan.triton_kernels import forward_kernel

    y = u.new_empty(u.shape)
    arguments = _arguments(u, delta, A, B, C, D, z, delta_bias)
    forward_kernel[_grid(u)](**arguments, y=y, starts=y, READ_OUT=True)
    return y


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
    from dimbench.kernels.selective_scan.triton_kernels import backward_kernel, forward_kernel

    (batch, length, channels), states = u.shape, A.shape[1]
    blocks, chunks = _grid(u)[1], -(-length // _CHUNK)

    def room(*shape: int) -> Tensor:
        return torch.empty(shape, device=u.device)

    arguments = _arguments(u, delta, A, B, C, D, z, delta_bias)
    starts = room(batch, chunks, channels, states)
    forward_kernel[_grid(u)](**arguments, y=starts, starts=starts, READ_OUT=False)

    gu, gdelta, gz = u.new_empty(u.shape), delta.new_empty(u.shape), None if z is None else z.new_empty(u.shape)
    gA, gD, gbias = room(batch, channels, states), room(batch, channels), room(batch, channels)
    gB, gC = room(batch, blocks, length, states), room(batch, blocks, length, states)
    outputs = {"gu": gu, "gdelta": gdelta, "gz": gu if gz is None else gz, "gA": gA, "gB": gB, "gC": gC}
    gy = on_triton.by_position("gy", grad)
    backward_kernel[_grid(u)](**arguments, **gy, **outputs, gD=gD, gbias=gbias, starts=starts)

    wanted = (gu, gdelta, gA.sum(0), gB.sum(1), gC.sum(1), gD.sum(0), gz, gbias.sum(0))
    inputs = (u, delta, A, B, C, D, z, delta_bias)
    return tuple(None if t is None or g is None else g.to(t.dtype) for t, g in zip(inputs, wanted, strict=True))


def _grid(u: Tensor) -> tuple[int, int]:
    return u.shape[0], -(-u.shape[2] // _BLOCK)


def _arguments(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> dict[str, Any]:
    """What both kernels take; where there is no gate, u stands in for it unread."""
    bias = torch.zeros_like(D) if delta_bias is None else delta_bias
    by_channel = {name: tensor.float().contiguous() for name, tensor in (("A", A), ("D", D), ("bias", bias))}
    named = (("u", u), ("delta", delta), ("B", B), ("C", C), ("z", u if z is None else z))
    by_position = {key: value for name, tensor in named for key, value in on_triton.by_position(name, tensor).items()}
    sizes = {"length": u.shape[1], "channels": u.shape[2], "states": A.shape[1]}
    blocks = {"CHUNK": _CHUNK, "BLOCK": _BLOCK, "STATES": 1 << (A.shape[1] - 1).bit_length()}
    return {**by_position, **by_channel, **sizes, **blocks, "GATED": z is not None}
