"""The causal convolution with SiLU by cpu.cpp: float32 or bfloat16 in, sums in float32."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from dimbench.kernels import native
from dimbench.kernels.native import rows

_SOURCE = Path(__file__).with_name("cpu.cpp")


def why_not(x: Tensor, weight: Tensor, bias: Tensor) -> str | None:
    if reason := native.why_not((x,), (weight, bias)):
        return reason
    most = native.constant(_SOURCE, "causal_conv_max_width")
    return f"it takes up to {most} taps, not {weight.shape[1]}" if weight.shape[1] > most else None


def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    conv, _kept = _conv(x, weight, bias, y)
    native.call(_SOURCE, "causal_conv_forward", x.dtype, conv)
    return y


def backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    channels, width = weight.shape
    gx = torch.empty(x.shape, dtype=x.dtype)
    gweight, gbias = torch.empty(len(x), width, channels), torch.empty(len(x), channels)
    conv, kept = _conv(x, weight, bias, None)
    gradients = [n for each in (grad, gx) for n in rows(each, x.dtype, kept)]  # `Gradients` of cpu.cpp
    gradients += [gweight.data_ptr(), gbias.data_ptr()]
    native.call(_SOURCE, "causal_conv_backward", x.dtype, conv, gradients)
    return gx, gweight.sum(0).t().to(weight.dtype, copy=True), gbias.sum(0).to(bias.dtype)


def _conv(x: Tensor, weight: Tensor, bias: Tensor, y: Tensor | None) -> tuple[list[int], list[Tensor]]:
    """`Conv` of cpu.cpp, and what must live as long."""
    kept: list[Tensor] = []
    conv = [*x.shape, weight.shape[1], *rows(x, x.dtype, kept), *rows(y, x.dtype, kept)]
    for tensor in (weight.t().contiguous(), bias):
        kept.append(native.adjacent(tensor, torch.float32))
        conv.append(kept[-1].data_ptr())
    return conv, kept
