"""The causal convolution with SiLU in plain torch: any device, any floating type; gradients in float32 or wider."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def why_not(*inputs: Tensor) -> None:
    """It runs everywhere."""


def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.silu(_convolved(x, weight.to(x.dtype), bias.to(x.dtype))).contiguous()


def backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dtype, width = torch.promote_types(x.dtype, torch.float32), weight.shape[1]
    wide, taps = x.to(dtype), weight.to(dtype)
    before = _convolved(wide, taps, bias.to(dtype))
    open = torch.sigmoid(before)
    grad = grad.to(dtype) * open * (1 + before * (1 - open))
    inputs = F.pad(wide, (0, 0, width - 1, 0)).unfold(1, width, 1)  # (B, L, E, W): what each position saw
    outputs = F.pad(grad, (0, 0, 0, width - 1)).unfold(1, width, 1)  # and whom each position reached
    grads = (
        torch.einsum("blew,ew->ble", outputs, taps.flip(1)),
        torch.einsum("blew,ble->ew", inputs, grad),
        grad.sum((0, 1)),
    )
    return grads[0].to(x.dtype), grads[1].to(weight.dtype), grads[2].to(bias.dtype)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    channels, width = weight.shape
    padded = F.pad(x.transpose(1, 2), (width - 1, 0))
    return F.conv1d(padded, weight[:, None], bias, groups=channels).transpose(1, 2)
