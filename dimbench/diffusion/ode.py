"""The probability-flow ODE: sampling by any method, and the Runge-Kutta methods of fixed step."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from dimbench.diffusion.convention import Drift, Network, OnStep, check_points, choose, evaluate, time_dtype
from dimbench.diffusion.dopri5 import dopri5
from dimbench.diffusion.transport import VP, Path, sampling_interval, to_velocity
from dimbench.errors import UsageError


@torch.no_grad()
def sample_ode(
    network: Network,
    x: Tensor,
    path: Path,
    *,
    prediction: str = "velocity",
    method: str = "dopri5",
    points: int = 250,
    rtol: float = 1e-3,
    atol: float = 1e-6,
    reverse: bool = False,
    on_step: OnStep | None = None,
) -> Tensor:
    """The sample that the probability flow carries x, (B, C, ...) noise, to; with `reverse`, from data to noise.

    See `solve` for the method. Ma et al. 2024, SiT (arXiv 2401.08740), section 2.
    """

    def drift(x: Tensor, t: Tensor) -> Tensor:
        return to_velocity(path, prediction, evaluate(network, x, t.item(), t.dtype), x, t)

    start, end = sampling_interval(path, prediction)
    if reverse:
        if isinstance(path, VP) and prediction.lower() == "noise":
            raise UsageError(
                "on VP the way back starts where there is no noise, and an estimate of it gives no velocity there: use "
                "a network that predicts velocity or score"
            )
        start, end = 1 - start, 1 - end
    return solve(drift, x, start, end, method=method, points=points, rtol=rtol, atol=atol, on_step=on_step)


def solve(
    drift: Drift,
    x: Tensor,
    start: float,
    end: float,
    *,
    method: str = "dopri5",
    points: int = 250,
    rtol: float = 1e-3,
    atol: float = 1e-6,
    on_step: OnStep | None = None,
) -> Tensor:
    """x at `end` under dx/dt = drift(x, t), from x at `start`, which may lie on either side.

    euler, heun2, midpoint and rk4 take the steps between `points` evenly spaced times; dopri5 takes its own, by rtol
    and atol. `on_step(k, x)` sees the state at time k + 1 of the `points`, with dopri5 an interpolated one.
    """
    fixed = choose("ODE method", method, _METHODS)
    check_points(points)
    grid = torch.linspace(start, end, points, dtype=time_dtype(x))
    if fixed is None:
        return dopri5(drift, x, grid, rtol=rtol, atol=atol, on_step=on_step)
    step, _ = fixed
    for k, (t, after) in enumerate(pairwise(grid)):
        x = step(drift, x, t, after)
        if on_step is not None:
            on_step(k, x)
    return x


def ode_calls(method: str, points: int) -> int | None:
    """How often a run calls the network; None for dopri5, which decides on the way."""
    fixed = choose("ODE method", method, _METHODS)
    return None if fixed is None else (points - 1) * fixed[1]


def _euler(drift: Drift, x: Tensor, t: Tensor, after: Tensor) -> Tensor:
    return x + (after - t) * drift(x, t)


def _heun2(drift: Drift, x: Tensor, t: Tensor, after: Tensor) -> Tensor:
    d = after - t
    k1 = drift(x, t)
    k2 = drift(x + d * k1, after)
    return x + d / 2 * (k1 + k2)


def _midpoint(drift: Drift, x: Tensor, t: Tensor, after: Tensor) -> Tensor:
    d = after - t
    k1 = drift(x, t)
    return x + d * drift(x + d / 2 * k1, t + d / 2)


def _rk4(drift: Drift, x: Tensor, t: Tensor, after: Tensor) -> Tensor:
    """Kutta's 3/8 rule, not the classical method (Hairer, Norsett and Wanner, Solving ODEs I, table II.1.2)."""
    d = after - t
    k1 = drift(x, t)
    k2 = drift(x + d / 3 * k1, t + d / 3)
    k3 = drift(x + d * (k2 - k1 / 3), t + 2 * d / 3)
    k4 = drift(x + d * (k1 - k2 + k3), after)
    return x + d / 8 * (k1 + 3 * (k2 + k3) + k4)


_METHODS: dict[str, tuple[Callable[[Drift, Tensor, Tensor, Tensor], Tensor], int] | None] = {
    "euler": (_euler, 1),
    "heun2": (_heun2, 2),
    "midpoint": (_midpoint, 2),
    "rk4": (_rk4, 4),
    "dopri5": None,
}
"""Name -> (one step from t to `after`, its network calls), None where the method chooses its steps."""
