"""The orthonormal 2-D Haar transform (a full packet tree) and its inverse as torch operators: on images, and on token
grids in the layout of DiMSUM (Phung et al., arXiv 2411.04168)."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from dimbench.errors import UsageError
from dimbench.kernels.backends import Backends, Example, Size, torch_operator

__all__ = ["backends", "example", "haar", "haar_inverse", "haar_tokens", "haar_tokens_inverse"]

backends = Backends(__name__, ("cpu", "reference"))


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


def haar_tokens(tokens: Tensor, places: Tensor, levels: int, gain: float = 1.0) -> Tensor:
    """`gain` times the transform of a grid of tokens (B, G^2, C), laid out on as many tokens: row `places[i]` holds
    token i of the layout.

    With n = band C + channel counted over all bands (first level slowest), the value of (n, coarse row i, coarse
    column j) stands in feature n // f^2 of token (f i + (n mod f^2) // f, f j + n mod f), f = 2^levels: a tile of
    tokens holds one coarse position, and it is the channels that are spread over the tile.
    Raises ValueError where levels is below 1, G is not divisible by f, or `places` is not (G^2,).
    """
    _check_grid("haar_tokens", tokens, places, levels)
    return _analyse_tokens(tokens, places, levels, gain)


def haar_tokens_inverse(bands: Tensor, places: Tensor, levels: int, gain: float = 1.0) -> Tensor:
    """`gain` times the grid of tokens whose `haar_tokens` with the same `places` these are."""
    _check_grid("haar_tokens_inverse", bands, places, levels)
    return _synthesise_tokens(bands, places, levels, gain)


def _check_grid(name: str, tokens: Tensor, places: Tensor, levels: int) -> None:
    side = math.isqrt(tokens.shape[1]) if tokens.ndim == 3 else 0
    if levels < 1 or not side or side**2 != tokens.shape[1] or side % 2**levels or places.shape != (side**2,):
        raise ValueError(
            f"{name} got tokens of shape {tuple(tokens.shape)} with {tuple(places.shape)} places for {levels} levels; "
            f"expected at least one level and (B, G^2, C) with G^2 places and G divisible by {2**levels}"
        )


@torch_operator("haar")
def _analyse(x: Tensor, levels: int) -> Tensor:
    return backends.choose(x).forward(x, levels)


@torch_operator("haar_inverse")
def _synthesise(bands: Tensor, levels: int) -> Tensor:
    return backends.choose(bands).inverse(bands, levels)


@torch_operator("haar_tokens")
def _analyse_tokens(tokens: Tensor, places: Tensor, levels: int, gain: float) -> Tensor:
    return backends.choose(tokens, places).tokens_forward(tokens, places, levels, gain)


@torch_operator("haar_tokens_inverse")
def _synthesise_tokens(bands: Tensor, places: Tensor, levels: int, gain: float) -> Tensor:
    return backends.choose(bands, places).tokens_inverse(bands, places, levels, gain)


@torch.library.register_fake("dimbench::haar")
def _(x: Tensor, levels: int) -> Tensor:
    batch, channels, height, width = x.shape
    return x.new_empty(batch, height // 2**levels, width // 2**levels, channels * 4**levels).permute(0, 3, 1, 2)


@torch.library.register_fake("dimbench::haar_inverse")
def _(bands: Tensor, levels: int) -> Tensor:
    batch, channels, height, width = bands.shape
    return bands.new_empty(batch, height * 2**levels, width * 2**levels, channels // 4**levels).permute(0, 3, 1, 2)


@torch.library.register_fake("dimbench::haar_tokens")
@torch.library.register_fake("dimbench::haar_tokens_inverse")
def _(tokens: Tensor, places: Tensor, levels: int, gain: float) -> Tensor:
    return tokens.new_empty(tokens.shape)


def _remember_levels(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    ctx.levels = inputs[1]


def _remember_layout(ctx: Any, inputs: tuple[Tensor, Tensor, int, float], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])
    ctx.settings = inputs[2:]


# The transform is orthonormal, so each direction is the other's adjoint.
for _name, _adjoint in (("haar", _synthesise), ("haar_inverse", _analyse)):
    torch.library.register_autograd(
        f"dimbench::{_name}",
        lambda ctx, grad, adjoint=_adjoint: (adjoint(grad, ctx.levels), None),
        setup_context=_remember_levels,
    )
for _name, _adjoint in (("haar_tokens", _synthesise_tokens), ("haar_tokens_inverse", _analyse_tokens)):
    torch.library.register_autograd(
        f"dimbench::{_name}",
        lambda ctx, grad, adjoint=_adjoint: (adjoint(grad, *ctx.saved_tensors, *ctx.settings), None, None, None),
        setup_context=_remember_layout,
    )


@register_flop_formula([torch.ops.dimbench.haar, torch.ops.dimbench.haar_inverse])
def flops(shape: tuple[int, ...], levels: int, *rest: Any, **kwargs: Any) -> int:
    """2 x MACs of the transform as the 2 x 2 convolutions it is: four products per element and level."""
    return 2 * 4 * levels * math.prod(shape)


@register_flop_formula([torch.ops.dimbench.haar_tokens, torch.ops.dimbench.haar_tokens_inverse])
def token_flops(shape: tuple[int, ...], places_shape: Any, levels: int, *rest: Any, **kwargs: Any) -> int:
    """The same for token grids."""
    return flops(shape, levels)


def example(size: Size) -> Example:
    """Two levels on a grid of L tokens, written in reversed order."""
    side = math.isqrt(size.length)
    if side % 4 or side**2 != size.length:
        raise UsageError(f"haar takes no length {size.length}; give the square of a multiple of 4, such as 256")
    tokens = size.normal(size.batch, size.length, size.channels)
    places = torch.arange(size.length - 1, -1, -1, device=size.device)
    return Example(partial(haar_tokens, levels=2), (tokens, places))
