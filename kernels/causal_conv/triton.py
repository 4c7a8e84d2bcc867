"""The causal convolution with SiLU by triton_kernels.py: float32, float16 or bfloat16 in, sums in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dimbench.kernels import on_triton

_CHUNK, _BLOCK = 32, 64


def why_not(x: Tensor, weight: Tensor, bias: Tensor) -> str | None:
    return on_triton.why_not((x,), (weight, bias))


def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    from dimbench.kernels.causal_conv.triton_kernels import forward_kernel

    y = x.new_empty(x.shape)
    forward_kernel[_grid(x)](**_arguments(x, weight, bias), y=y)
    return y


def backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    from dimbench.kernels.causal_conv.triton_kernels import backward_kernel

    batch, chunks, _ = _grid(x)
    channels, width = weight.shape
    gx, gweight, gbias = (
        x.new_empty(x.shape),
        torch.empty(batch, chunks, width, channels, device=x.device),
        torch.empty(batch, chunks, channels, device=x.device),
    )
    outputs = {"gx": gx, "gweight": gweight, "gbias": gbias}
    backward_kernel[_grid(x)](**_arguments(x, weight, bias), **on_triton.by_position("gy", grad), **outputs)
    return gx, gweight.sum((0, 1)).t().to(weight.dtype, copy=True), gbias.sum((0, 1)).to(bias.dtype)


def _grid(x: Tensor) -> tuple[int, int, int]:
    batch, length, channels = x.shape
    return batch, -(-length // _CHUNK), -(-channels // _BLOCK)


def _arguments(x: Tensor, weight: Tensor, bias: Tensor) -> dict[str, Any]:
    """What both kernels take."""
    by_channel = {"weight": weight.t().float().contiguous(), "bias": bias.float().contiguous()}
    sizes = {"length": x.shape[1], "channels": x.shape[2], "WIDTH": weight.shape[1]}
    return {**on_triton.by_position("x", x), **by_channel, **sizes, "CHUNK": _CHUNK, "BLOCK": _BLOCK}
