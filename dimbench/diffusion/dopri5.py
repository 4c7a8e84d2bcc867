"""The adaptive method of Dormand and Prince, step for step as the published SiT and DiMSUM samples were made.

The error norm runs over the whole batch, no step is shortened to meet a wanted time, so that the network is called
beyond the end, and states at wanted times are interpolated. Hence a run costs 2 + 6 n calls for n attempted steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dimbench.diffusion.convention import Drift, OnStep, time_dtype
from dimbench.errors import UsageError

# Dormand and Prince 1980; Hairer, Norsett and Wanner, Solving ODEs I, table II.5.2. The last row is the fifth-order
# solution, so that the seventh stage is the first of the next step.
NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
ROWS = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
# Shampine's fourth-order companion (Some practical Runge-Kutta formulas, 1986), not Dormand and Prince's own.
ERROR = (
    35 / 384 - 1951 / 21600,
    0.0,
    500 / 1113 - 22642 / 50085,
    125 / 192 - 451 / 720,
    -2187 / 6784 + 12231 / 42400,
    11 / 84 - 649 / 6300,
    -1 / 60,
)
# His weights for the state in the middle of a step.
MIDDLE = (
    6025192743 / 30085553152 / 2,
    0.0,
    51252292925 / 65400821598 / 2,
    -2691868925 / 45128329728 / 2,
    187940372067 / 1594534317056 / 2,
    -1776094331 / 19743644256 / 2,
    11237099 / 235043384 / 2,
)
SAFETY, LARGEST_GROWTH, SMALLEST_GROWTH = 0.9, 10.0, 0.2

Slope = Callable[[Tensor, float], Tensor]


class Step(NamedTuple):
    start: float
    length: float
    x0: Tensor
    x1: Tensor
    stages: list[Tensor]


def dopri5(drift: Drift, x: Tensor, grid: Tensor, *, rtol: float, atol: float, on_step: OnStep | None = None) -> Tensor:
    """x at grid[-1] under dx/dt = drift(x, t), from x at grid[0]; rising or falling grid (n,).

    A solution that cannot be continued (NaN or infinity from the drift, or steps below the resolution of time) comes
    back as NaN.
    """
    if not (rtol > 0 and atol > 0):
        raise UsageError(f"the tolerances rtol {rtol:g} and atol {atol:g} do not both lie above 0: give positive ones")
    direction = 1.0 if grid[-1] > grid[0] else -1.0

    def slope(x: Tensor, t: float) -> Tensor:
        v = drift(x, torch.tensor(direction * t, dtype=grid.dtype))
        return v if direction > 0 else -v

    t, *targets = (direction * grid.double()).tolist()
    first = slope(x, t)
    length = _first_length(slope, x, first, t, rtol, atol)
    for k, target in enumerate(targets) if on_step is not None else [(0, targets[-1])]:
        while t < target:
            if not t + length > t:  # also when the length is NaN
                return torch.full_like(x, math.nan)
            step = _attempt(slope, x, first, t, length)
            ratio = _error_ratio(step, rtol, atol)
            if ratio <= 1:
                accepted = step
                t, x, first = t + length, step.x1, step.stages[-1]
            length *= _growth(ratio)
        state = _interpolate(accepted, target)
        if on_step is not None:
            on_step(k, state)
    return state


def _attempt(slope: Slope, x: Tensor, first: Tensor, t: float, length: float) -> Step:
    stages, reached = [first], x
    for node, row in zip(NODES, ROWS, strict=True):
        reached = x + length * _weighted(row, stages)
        stages.append(slope(reached, t + node * length))
    return Step(t, length, x, reached, stages)


def _error_ratio(step: Step, rtol: float, atol: float) -> float:
    """The estimated error in units of what is tolerated: a step with at most 1 is accepted."""
    error = step.length * _weighted(ERROR, step.stages)
    return _rms(error / (atol + rtol * torch.maximum(step.x0.abs(), step.x1.abs())))


def _growth(ratio: float) -> float:
    """The next step's length in units of this one's."""
    if ratio == 0:
        return LARGEST_GROWTH
    if not ratio < math.inf:  # the step left the region where the drift is finite
        return SMALLEST_GROWTH
    return min(LARGEST_GROWTH, max(SAFETY * ratio ** (-1 / 5), 1.0 if ratio < 1 else SMALLEST_GROWTH))


def _first_length(slope: Slope, x: Tensor, first: Tensor, t: float, rtol: float, atol: float) -> float:
    """Hairer, Norsett and Wanner, Solving ODEs I, section II.4, for order 4; NaN if the drift is not finite."""
    scale = atol + rtol * x.abs()
    size, speed = _rms(x / scale), _rms(first / scale)
    if not math.isfinite(speed):
        return math.nan
    trial = 1e-6 if size < 1e-5 or speed < 1e-5 else 0.01 * size / speed
    bend = _rms((slope(x + trial * first, t + trial) - first) / scale) / trial
    steepest = max(speed, bend)
    length = max(1e-6, trial / 1000) if steepest <= 1e-15 else (0.01 / steepest) ** (1 / 5)
    return min(100 * trial, length)


def _interpolate(step: Step, t: float) -> Tensor:
    """The state at a time within the step, on the quartic through both ends, their slopes and the middle."""
    h, x0, x1 = step.length, step.x0, step.x1
    f0, f1 = step.stages[0], step.stages[-1]
    middle = x0 + h * _weighted(MIDDLE, step.stages)
    u = (t - step.start) / h
    a = 2 * h * (f1 - f0) - 8 * (x1 + x0) + 16 * middle
    b = h * (5 * f0 - 3 * f1) + 18 * x0 + 14 * x1 - 32 * middle
    c = h * (f1 - 4 * f0) - 11 * x0 - 5 * x1 + 16 * middle
    return x0 + u * (h * f0 + u * (c + u * (b + u * a)))


def _weighted(weights: Sequence[float], stages: list[Tensor]) -> Tensor:
    total = weights[0] * stages[0]
    for weight, stage in zip(weights[1:], stages[1:], strict=True):
        if weight:
            total.add_(stage, alpha=weight)
    return total


def _rms(x: Tensor) -> float:
    return torch.linalg.vector_norm(x, dtype=time_dtype(x)).item() / math.sqrt(x.numel())
