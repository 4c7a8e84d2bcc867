"""The orthonormal 2-D Haar transform (a full packet tree) and its inverse as torch operators."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from dimbench.kernels.backends import Backends

__all__ = ["backends", "haar", "haar_inverse"]

backends = Backends(__name__, ("reference",))


def haar(x: Tensor, levels: int = 1) -> Tensor:
    """The packet transform (B, C, h, w) -> (B, C 4^levels, h/2^levels, w/2^levels).

    One level turns each 2 x 2 cell into LL, LH (top minus bottom), HL (left minus right) and HH, every band a block of
    C channels in that order; a further level transforms all of them, not LL alone. Orthonormal: norms are kept.
    The result lies in memory with the channels innermost, and is fastest where x does.
    Raises ValueError where levels is below 1 or h or w is not divisible by 2^levels.
    """
    if x.ndim != 4 or levels < 1 or any(side % 2**levels for side in x.shape[-2:]):
        raise ValueError(
            f"haar got a tensor of shape {tuple(x.shape)} for {levels} levels; expected at least one level and "
            f"(B, C, h, w) with h and w divisible by {2**levels}"
        )
    return _analyse(x, levels)


def haar_inverse(bands: Tensor, levels: int = 1) -> Tensor:
    """The inverse of `haar`: (B, C 4^levels, h, w) -> (B, C, h 2^levels, w 2^levels).

    Raises ValueError where levels is below 1 or the channels are not divisible by 4^levels.
    """
    if bands.ndim != 4 or levels < 1 or bands.shape[1] % 4**levels:
        raise ValueError(
            f"haar_inverse got a tensor of shape {tuple(bands.shape)} for {levels} levels; expected at least one level "
            f"and (B, C, h, w) with C divisible by {4**levels}"
        )
    return _synthesise(bands, levels)


@torch.library.custom_op("dimbench::haar", mutates_args=())
def _analyse(x: Tensor, levels: int) -> Tensor:
    return backends.choose(x).forward(x, levels)


@torch.library.custom_op("dimbench::haar_inverse", mutates_args=())
def _synthesise(bands: Tensor, levels: int) -> Tensor:
    return backends.choose(bands).inverse(bands, levels)


@_analyse.register_fake
def _(x: Tensor, levels: int) -> Tensor:
    batch, channels, height, width = x.shape
    return x.new_empty(batch, height // 2**levels, width // 2**levels, channels * 4**levels).permute(0, 3, 1, 2)


@_synthesise.register_fake
def _(bands: Tensor, levels: int) -> Tensor:
    batch, channels, height, width = bands.shape
    return bands.new_empty(batch, height * 2**levels, width * 2**levels, channels // 4**levels).permute(0, 3, 1, 2)


def _remember_levels(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    ctx.levels = inputs[1]


# The transform is orthonormal, so each direction is the other's adjoint.
_analyse.register_autograd(lambda ctx, grad: (_synthesise(grad, ctx.levels), None), setup_context=_remember_levels)
_synthesise.register_autograd(lambda ctx, grad: (_analyse(grad, ctx.levels), None), setup_context=_remember_levels)


@register_flop_formula([torch.ops.dimbench.haar, torch.ops.dimbench.haar_inverse])
def flops(shape: tuple[int, ...], levels: int, *rest: Any, **kwargs: Any) -> int:
    """2 x MACs of the transform as the 2 x 2 convolutions it is: four products per element and level."""
    return 2 * 4 * levels * shape[0] * shape[1] * shape[2] * shape[3]
