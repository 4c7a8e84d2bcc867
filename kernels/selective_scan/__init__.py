"""The selective scan of Mamba (Gu & Dao, arXiv 2312.00752, eq. 2, selection of section 3.2) as one torch operator."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from dimbench.kernels.backends import Backends, Example, Size, torch_operator

__all__ = ["backends", "example", "selective_scan"]

backends = Backends(__name__, ("cpu", "mamba-ssm", "triton", "reference"))


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
    """The gated scan y of shape (B, L, E), in the type of u; the state is kept in float32.

    With step_l = softplus(delta_l + delta_bias), for each channel e and state n:
    h_l = exp(step_l A) h_{l-1} + step_l B_l u_l, y_l = C_l . h_l + D u_l, then y_l SiLU(z_l) where z is given.

    Shapes: u, delta, z (B, L, E); A (E, N), negative; B, C (B, L, N); D, delta_bias (E,).
    Raises ValueError where the shapes do not fit each other.
    """
    if u.ndim != 3 or A.ndim != 2:
        raise ValueError(
            f"selective_scan got u of shape {tuple(u.shape)} and A of shape {tuple(A.shape)}; expected (B, L, E) and "
            "(E, N)"
        )
    by_position, states = u.shape, A.shape[1]
    batch, length, channels = by_position
    by_state, by_channel = (batch, length, states), (channels,)
    for name, tensor, shape in (
        ("delta", delta, by_position),
        ("A", A, (channels, states)),
        ("B", B, by_state),
        ("C", C, by_state),
        ("D", D, by_channel),
        ("z", z, by_position),
        ("delta_bias", delta_bias, by_channel),
    ):
        if tensor is not None and tensor.shape != shape:
            raise ValueError(
                f"selective_scan got {name} of shape {tuple(tensor.shape)} beside u {tuple(u.shape)} and A "
                f"{tuple(A.shape)}; expected {tuple(shape)}"
            )
    return _operator(u, delta, A, B, C, D, z, delta_bias)


@torch_operator("selective_scan")
def _operator(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> Tensor:
    inputs = (u, delta, A, B, C, D, z, delta_bias)
    return backends.choose(*inputs).forward(*inputs)


@torch.library.custom_op("dimbench::selective_scan_backward", mutates_args=())
def _gradients(
    grad: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> list[Tensor]:
    """The gradients of the inputs that there are, in their order."""
    inputs = (u, delta, A, B, C, D, z, delta_bias)
    return [g for g in backends.choose(*inputs).backward(grad, *inputs) if g is not None]


@torch.library.register_fake("dimbench::selective_scan")
def _(u: Tensor, *rest: Tensor | None) -> Tensor:
    return u.new_empty(u.shape)


@_gradients.register_fake
def _(grad: Tensor, *inputs: Tensor | None) -> list[Tensor]:
    return [t.new_empty(t.shape) for t in inputs if t is not None]


def _remember(ctx: Any, inputs: tuple[Tensor | None, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    inputs = ctx.saved_tensors  # read once: under checkpointing a second time is an error
    grads = iter(_gradients(grad, *inputs))
    return tuple(None if t is None else next(grads) for t in inputs)


torch.library.register_autograd("dimbench::selective_scan", _backward, setup_context=_remember)


@register_flop_formula(torch.ops.dimbench.selective_scan)
def flops(u_shape: tuple[int, ...], delta_shape: Any, A_shape: tuple[int, ...], *rest: Any, **kwargs: Any) -> int:
    """2 x MACs: per state element the products step*A, (step*u)*B, decay*state and state*C; per channel step*u, D*u
    and, where it is gated, y*SiLU(z)."""
    batch, length, channels = u_shape
    gated = len(rest) > 3 and rest[3] is not None
    return 2 * batch * length * channels * (4 * A_shape[1] + (3 if gated else 2))


def example(size: Size) -> Example:
    """A scan with gate and bias, steps near 0.05. It takes at least the exponentials of all decays; where mamba-ssm is,
    its function alone, without what turns tensors round for it, is timed as well."""
    batch, length, channels, states = size.batch, size.length, size.channels, size.states
    u, delta, z = (size.normal(batch, length, channels) for _ in range(3))
    B, C = (size.normal(batch, length, states) for _ in "BC")
    A = -torch.arange(1, states + 1, dtype=torch.float32, device=size.device).repeat(channels, 1)
    D = torch.ones(channels, device=size.device)
    bias = torch.full_like(D, -3)

    @cache
    def exponents() -> tuple[Tensor, Tensor]:
        numbers = size.normal(batch * length * channels * states, dtype=torch.float32)
        return numbers, torch.empty_like(numbers)

    inputs = (u, delta, A, B, C, D, z, bias)
    floors: dict[str, Callable[[], object]] = {"torch.exp": lambda: torch.exp(exponents()[0], out=exponents()[1])}
    floors_backward = {}
    if backends.why_not("mamba-ssm", *inputs) is None:
        alone = "mamba-ssm alone"
        floors[alone], floors_backward[alone] = backends.module("mamba-ssm").alone(*inputs)
    return Example(selective_scan, inputs, floors, floors_backward)
