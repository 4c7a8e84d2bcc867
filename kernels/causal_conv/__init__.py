"""Mamba's short causal convolution with SiLU (Gu & Dao, arXiv 2312.00752, figure 3) as one torch operator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from dimbench.kernels.backends import Backends, Example, Size, torch_operator

__all__ = ["backends", "causal_conv", "example"]

backends = Backends(__name__, ("cpu", "triton", "reference"))


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """SiLU(v) of shape (B, L, E), in the type of x: v_l = bias + sum_tau weight[:, tau] x_{l - W + 1 + tau}, with zeros
    before the start.

    Shapes: x (B, L, E); weight (E, W); bias (E,). Raises ValueError where they do not fit each other.
    """
    if x.ndim != 3 or weight.ndim != 2 or (weight.shape[0], *bias.shape) != (x.shape[2], x.shape[2]):
        raise ValueError(
            f"causal_conv got x {tuple(x.shape)}, weight {tuple(weight.shape)} and bias {tuple(bias.shape)}; expected "
            "(B, L, E), (E, W) and (E,)"
        )
    return _operator(x, weight, bias)


@torch_operator("causal_conv")
def _operator(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return backends.choose(x, weight, bias).forward(x, weight, bias)


@torch.library.custom_op("dimbench::causal_conv_backward", mutates_args=())
def _gradients(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return backends.choose(x, weight, bias).backward(grad, x, weight, bias)


@torch.library.register_fake("dimbench::causal_conv")
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@_gradients.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape), bias.new_empty(bias.shape)


def _remember(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


torch.library.register_autograd(
    "dimbench::causal_conv", lambda ctx, grad: _gradients(grad, *ctx.saved_tensors), setup_context=_remember
)


@register_flop_formula(torch.ops.dimbench.causal_conv)
def flops(x_shape: tuple[int, ...], weight_shape: tuple[int, ...], *rest: Any, **kwargs: Any) -> int:
    """2 x MACs: W products per channel and position."""
    return 2 * x_shape[0] * x_shape[1] * x_shape[2] * weight_shape[1]


def example(size: Size) -> Example:
    """Four taps, as in most Mambas."""
    x = size.normal(size.batch, size.length, size.channels)
    weight, bias = (size.normal(*shape, dtype=torch.float32) for shape in ((size.channels, 4), (size.channels,)))
    return Example(causal_conv, (x, weight, bias))
