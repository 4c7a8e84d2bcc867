"""The selective scan in plain torch: any device, any floating type; computes in float32 or wider."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

# Positions are taken in chunks so that the (B, chunk, E, N) products stay near this many elements (16 MiB in float32).
_CHUNK_ELEMENTS = 2**22


def why_not(*inputs: Tensor | None) -> None:
    """It runs everywhere."""


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
    """One addcmul per position."""
    dtype = torch.promote_types(u.dtype, torch.float32)
    x, A, B, C, D = (tensor.to(dtype) for tensor in (u, A, B, C, D))
    step = F.softplus(_raw_step(delta, delta_bias, dtype))
    state = x.new_zeros(x.shape[0], *A.shape)
    outputs = []
    for part in _chunks(x, A.shape[1]):
        states = _states(state, _decay(step, A, part), _drive(step, x, B, part))
        state = states[:, -1]
        outputs.append(torch.einsum("blen,bln->ble", states, C[:, part]))
    y = torch.cat(outputs, 1) + D * x
    if z is not None:
        y = y * F.silu(z.to(dtype))
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
    """The gradient g_l of state l is C_l gy_l + decay_{l+1} g_{l+1}; the states are computed again chunk by chunk."""
    inputs = (u, delta, A, B, C, D, z, delta_bias)
    dtype = torch.promote_types(u.dtype, torch.float32)
    gy, x, A, B, C, D = (tensor.to(dtype) for tensor in (grad, u, A, B, C, D))
    raw = _raw_step(delta, delta_bias, dtype)
    step = F.softplus(raw)
    if z is not None:
        gated, z = gy, z.to(dtype)
        gy = gy * F.silu(z)

    parts, starts = list(_chunks(x, A.shape[1])), [x.new_zeros(x.shape[0], *A.shape)]
    for part in parts[:-1]:
        starts.append(_states(starts[-1], _decay(step, A, part), _drive(step, x, B, part))[:, -1])

    y, gdrive, gstep, gA, gB, gC = (torch.zeros_like(t) for t in (x, x, x, A, B, C))
    carry = torch.zeros_like(starts[0])
    for part, start in zip(reversed(parts), reversed(starts), strict=True):
        decay = _decay(step, A, part)  # (B, chunk, E, N), as all that follow
        states = _states(start, decay, _drive(step, x, B, part))
        later = torch.cat([decay[:, 1:], torch.ones_like(decay[:, :1])], 1)
        gstate = _states(carry, later.flip(1), (gy[:, part, :, None] * C[:, part, None, :]).flip(1)).flip(1)
        carry = decay[:, 0] * gstate[:, 0]
        gexponent = gstate * decay * torch.cat([start[:, None], states[:, :-1]], 1)
        y[:, part] = torch.einsum("blen,bln->ble", states, C[:, part])
        gC[:, part] = torch.einsum("blen,ble->bln", states, gy[:, part])
        gB[:, part] = torch.einsum("blen,ble->bln", gstate, (step * x)[:, part])
        gdrive[:, part] = torch.einsum("blen,bln->ble", gstate, B[:, part])
        gstep[:, part] = torch.einsum("blen,en->ble", gexponent, A)
        gA += torch.einsum("blen,ble->en", gexponent, step[:, part])

    gz = None if z is None else gated * (y + D * x) * torch.sigmoid(z) * (1 + z * (1 - torch.sigmoid(z)))
    graw = (gstep + gdrive * x) * torch.where(raw > 20, 1, torch.sigmoid(raw))
    wanted = (gy * D + gdrive * step, graw, gA, gB, gC, (gy * x).sum((0, 1)), gz, graw.sum((0, 1)))
    return tuple(None if t is None or g is None else g.to(t.dtype) for t, g in zip(inputs, wanted, strict=True))


def _raw_step(delta: Tensor, delta_bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    return delta.to(dtype) if delta_bias is None else delta.to(dtype) + delta_bias.to(dtype)


def _chunks(x: Tensor, states: int) -> Iterator[slice]:
    batch, length, channels = x.shape
    chunk = max(1, _CHUNK_ELEMENTS // max(1, batch * channels * states))
    return (slice(start, start + chunk) for start in range(0, length, chunk))


def _decay(step: Tensor, A: Tensor, part: slice) -> Tensor:
    return torch.exp(step[:, part, :, None] * A)


def _drive(step: Tensor, x: Tensor, B: Tensor, part: slice) -> Tensor:
    return (step * x)[:, part, :, None] * B[:, part, None, :]


def _states(state: Tensor, decay: Tensor, drive: Tensor) -> Tensor:
    """All states (B, chunk, E, N) that follow `state` (B, E, N)."""
    states = []
    for kept, new in zip(decay.unbind(1), drive.unbind(1), strict=True):
        state = torch.addcmul(new, kept, state)
        states.append(state)
    return torch.stack(states, 1)
