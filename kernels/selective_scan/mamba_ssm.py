"""The selective scan by the CUDA kernel of the package mamba-ssm, where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

_TYPES = (torch.float32, torch.float16, torch.bfloat16)
_MAX_STATES = 256


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
    for tensor in (u, delta, A, B, C, D, z, delta_bias):
        if tensor is not None and not tensor.is_cuda:
            return f"it runs on cuda and a tensor lies on {tensor.device}"
    if u.dtype not in _TYPES:
        return f"it takes float32, float16 and bfloat16, not {str(u.dtype).removeprefix('torch.')}"
    if A.shape[1] > _MAX_STATES:
        return f"it takes up to {_MAX_STATES} states, not {A.shape[1]}"
    return missing()


def missing() -> str | None:
    """Why the package cannot be used here, or None."""
    if find_spec("mamba_ssm") is None:
        return "mamba-ssm is not installed; pip install 'dimbench[mamba]'"
    try:
        _function()
    except (ImportError, OSError) as error:  # its compiled part, selective_scan_cuda, is missing or of another torch
        return f"mamba-ssm cannot be imported ({error})"
    return None


def _function() -> Callable[..., Tensor]:
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    return selective_scan_fn


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
    with torch.no_grad():
        y = _scan(*_turned(u, delta, A, B, C, D, z, delta_bias))
    return y.transpose(1, 2).contiguous()


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
    inputs = (u, delta, A, B, C, D, z, delta_bias)
    leaves = [None if t is None else t.detach().requires_grad_() for t in _turned(*inputs)]
    with torch.enable_grad():
        y = _scan(*leaves)
    grads = iter(torch.autograd.grad(y, [t for t in leaves if t is not None], grad.transpose(1, 2)))
    found = [None if t is None else next(grads) for t in leaves]
    by_position = (0, 1, 3, 4, 6)
    turned = [g.transpose(1, 2) if g is not None and i in by_position else g for i, g in enumerate(found)]
    return tuple(None if t is None or g is None else g.to(t.dtype) for t, g in zip(inputs, turned, strict=True))


def alone(*inputs: Tensor | None) -> tuple[Callable[[], object], Callable[[], object]]:
    """The package's own function on inputs that lie as it wants them: a forward pass, and the gradients of all inputs
    through an output that was made before."""
    leaves = [None if t is None else t.detach().contiguous().requires_grad_() for t in _turned(*inputs)]
    wanted = [leaf for leaf in leaves if leaf is not None]

    @cache
    def output() -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            y = _scan(*leaves)
        return y, torch.ones_like(y)

    def forward() -> Tensor:
        with torch.no_grad():
            return _scan(*leaves)

    def gradients() -> tuple[Tensor, ...]:
        y, grad = output()
        return torch.autograd.grad(y, wanted, grad, retain_graph=True)

    return forward, gradients


def _turned(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """The inputs as mamba-ssm wants them: by position (B, E, L) and (B, N, L) in the type of u, the others float32."""
    u_, delta_, B_, C_, z_ = (None if t is None else t.to(u.dtype).transpose(1, 2) for t in (u, delta, B, C, z))
    bias = None if delta_bias is None else delta_bias.float()
    return u_, delta_, A.float(), B_, C_, D.float(), z_, bias


def _scan(
    u: Tensor | None,
    delta: Tensor | None,
    A: Tensor | None,
    B: Tensor | None,
    C: Tensor | None,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> Tensor:
    return _function()(u, delta, A, B, C, D, z=z, delta_bias=delta_bias, delta_softplus=True)
