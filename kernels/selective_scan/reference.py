"""The selective scan in plain torch: any device, any floating type, differentiable by autograd."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Positions are taken in chunks so that the (B, chunk, E, N) products stay near this many elements (16 MiB in float32).
_CHUNK_ELEMENTS = 2**22


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
) -> Tensor:
    """The recurrence of `dimbench.kernels.selective_scan`, one addcmul per position; computes in float32 or wider."""
    dtype = torch.promote_types(u.dtype, torch.float32)
    x, A, B, C, D = (tensor.to(dtype) for tensor in (u, A, B, C, D))
    step = delta.to(dtype) if delta_bias is None else delta.to(dtype) + delta_bias.to(dtype)
    step = F.softplus(step)
    batch, length, channels = u.shape
    chunk = max(1, _CHUNK_ELEMENTS // max(1, batch * channels * A.shape[1]))

    state = x.new_zeros(batch, channels, A.shape[1])
    outputs = []
    for start in range(0, length, chunk):
        part = slice(start, start + chunk)
        decay = torch.exp(step[:, part, :, None] * A)  # (B, chunk, E, N)
        drive = (step * x)[:, part, :, None] * B[:, part, None, :]
        states = []
        for kept, new in zip(decay.unbind(1), drive.unbind(1), strict=True):
            state = torch.addcmul(new, kept, state)
            states.append(state)
        outputs.append(torch.einsum("blen,bln->ble", torch.stack(states, 1), C[:, part]))
    y = torch.cat(outputs, 1) + D * x
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y.to(u.dtype)
