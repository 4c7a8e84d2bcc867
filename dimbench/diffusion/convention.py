"""What all samplers share: how they call a network, ask for noise, report a step and refuse a name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from dimbench.errors import UsageError

Network = Callable[[Tensor, Tensor], Tensor]
"""(x, t) -> output: x is (B, C, ...), t is (B,); labels are bound by the caller. Later calls must leave it as it is."""

Drift = Callable[[Tensor, Tensor], Tensor]
"""(x, t) -> dx/dt; t is 0-dimensional and lies on the CPU."""

Noise = Callable[[int, tuple[int, ...]], Tensor]
"""(k, shape) -> standard normal values of the k-th draw, k = 0 for the first."""

OnStep = Callable[[int, Tensor], None]
"""(k, x): called after the k-th step with the state it produced."""

Ask = Callable[[Network, Tensor, float, torch.dtype], Tensor]
"""(network, x, t, dtype) -> its output at the time t that the whole batch shares: `evaluate`, or what stands for it."""

T = TypeVar("T")


class Counted:
    """`network`, with the number of calls made through it in `calls`."""

    def __init__(self, network: Callable[..., Tensor]) -> None:
        self.network = network
        self.calls = 0

    def __call__(self, *args: Any) -> Tensor:
        self.calls += 1
        return self.network(*args)


def evaluate(network: Network, x: Tensor, t: float, dtype: torch.dtype) -> Tensor:
    """The network's output at the time `t` that the whole batch shares, in the dtype of x."""
    times = torch.full((len(x),), t, dtype=dtype, device=x.device)
    return network(x, times).to(x.dtype)


def time_dtype(x: Tensor) -> torch.dtype:
    """float32, whatever less the state is kept in: bfloat16 cannot tell neighbouring times apart."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def choose(what: str, name: str, known: Mapping[str, T]) -> T:
    """`known[name]`, upper or lower case alike; a UsageError lists the known names."""
    try:
        return known[name.lower()]
    except KeyError:
        raise UsageError(f"unknown {what} {name!r}: use one of {', '.join(known)}") from None


def check_points(points: int) -> None:
    """Refuse a time grid that holds no step."""
    if not isinstance(points, int) or points < 2:
        raise UsageError(f"{points!r} grid points make no step: give a whole number of at least 2")


def check_numbers(settings: Any, above_0: Sequence[str]) -> None:
    """Refuse fields of a process that are no finite numbers, and of some those that are not above 0."""
    for name, value in vars(settings).items():
        least = 0 if name in above_0 else -math.inf
        if isinstance(value, (int, float)) and not least < value < math.inf:
            raise UsageError(
                f"{name} {value:g} is not understood; give a finite number{' above 0' * (name in above_0)}"
            )
