"""Inputs for the selective scan, and what it must give: the recurrence written down as it stands."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Inputs = tuple[Any, ...]


def inputs(batch: int, length: int, channels: int, states: int, gate: bool = True, bias: bool = True) -> Inputs:
    """u, delta, A, B, C, D, z, delta_bias in float64, with steps from 0.001 to 4."""
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    by_position = (batch, length, channels)
    A = -torch.arange(1, states + 1, dtype=torch.float64) * (1 + 0.1 * normal(channels, states))
    u, delta, B, C = (
        normal(*by_position),
        2 * normal(*by_position),
        normal(batch, length, states),
        normal(batch, length, states),
    )
    return (
        *(u, delta, A, B, C, normal(channels)),
        normal(*by_position) if gate else None,
        normal(channels) - 3 if bias else None,
    )


def cast(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """What comes by position in `dtype`; A, D and the bias no narrower than float32, as a network keeps them."""
    wide = torch.promote_types(dtype, torch.float32)
    types = (dtype, dtype, wide, dtype, dtype, wide, dtype, wide)
    return tuple(None if t is None else t.to(d) for t, d in zip(inputs, types, strict=True))


def loop(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> Tensor:
    """One image, one position after another."""
    y = torch.empty_like(u)
    for image in range(u.shape[0]):
        state = torch.zeros_like(A)
        for position in range(u.shape[1]):
            here = image, position
            step = delta[here] if delta_bias is None else delta[here] + delta_bias
            step = torch.log1p(torch.exp(step))
            state = torch.exp(step[:, None] * A) * state + (step * u[here])[:, None] * B[here]
            y[here] = state @ C[here] + D * u[here]
            if z is not None:
                y[here] *= z[here] / (1 + torch.exp(-z[here]))
    return y


def scattered(tensor: Tensor) -> Tensor:
    """The same values, none beside the next in memory."""
    room = torch.full((*tensor.shape, 2), torch.nan, dtype=tensor.dtype)
    room[..., 0] = tensor
    return room[..., 0]


def sliced(tensor: Tensor) -> Tensor:
    """The same values as a part of longer rows, as a projection's output is split."""
    return torch.cat([torch.full_like(tensor, torch.nan), tensor], dim=-1)[..., tensor.shape[-1] :]


def relative_error(ours: Tensor, exact: Tensor) -> float:
    """max |ours - exact| / max |exact|."""
    return ((ours.double() - exact.double()).abs().max() / exact.double().abs().max()).item()
