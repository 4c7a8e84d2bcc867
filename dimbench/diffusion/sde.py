"""Sampling by a stochastic differential equation whose marginals are those of the path."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dimbench.diffusion.convention import Drift, Network, Noise, OnStep, check_points, choose, evaluate, time_dtype
from dimbench.diffusion.transport import SAMPLE_EPS, VP, Path, sampling_interval, to_score, to_velocity
from dimbench.errors import UsageError

_FORMS: dict[str, Callable[[Path, Tensor, float], Tensor]] = {
    "sbdm": lambda path, t, norm: norm * path.drift_var(t),
    "sigma": lambda path, t, norm: norm * path.sigma(t),
    "linear": lambda path, t, norm: norm * (1 - t),
    "decreasing": lambda path, t, norm: 0.25 * (norm * torch.cos(math.pi * t) + 1) ** 2,
    "increasing-decreasing": lambda path, t, norm: norm * torch.sin(math.pi * t) ** 2,
    "constant": lambda path, t, norm: torch.full_like(t, norm),
}
_LAST_STEPS = {name: name for name in ("mean", "euler", "tweedie", "none")}


@torch.no_grad()
def sample_sde(
    network: Network,
    x: Tensor,
    path: Path,
    noise: Noise,
    *,
    prediction: str = "velocity",
    method: str = "euler",
    form: str = "sigma",
    norm: float = 1.0,
    last_step: str = "mean",
    last_step_size: float = 0.04,
    points: int = 250,
    on_step: OnStep | None = None,
) -> Tensor:
    """The sample that dx = (v + w score) dt + sqrt(2 w) dW carries x, (B, C, ...) noise, to.

    method: euler (Euler-Maruyama) or heun take points - 1 equal steps. form: w(t), one of sbdm, sigma, linear,
    decreasing, increasing-decreasing, constant, scaled by `norm`. last_step, of `last_step_size` and without noise:
    mean (along the drift), euler (along the velocity), tweedie (the mean of the data given x), or none.
    `on_step(points - 1, x)` sees the state after it. Ma et al. 2024, SiT (arXiv 2401.08740), section 2, where 2 w is
    called w.
    """
    step, _ = choose("SDE method", method, _METHODS)
    last = choose("last step", last_step, _LAST_STEPS)
    diffusion = choose("diffusion form", form, _FORMS)
    check_points(points)
    if not norm >= 0:
        raise UsageError(f"diffusion norm {norm:g} is negative: give 0 (no noise) or more")
    start, end = sde_interval(path, prediction, form, last_step, last_step_size)
    if end == 1 and method.lower() == "heun":
        raise UsageError("heun needs the score at t = 1, where velocity prediction gives none: choose a last step")

    def velocity_and_score(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        out = evaluate(network, x, t.item(), t.dtype)
        return to_velocity(path, prediction, out, x, t), to_score(path, prediction, out, x, t)

    def drift(x: Tensor, t: Tensor) -> Tensor:
        velocity, score = velocity_and_score(x, t)
        return velocity + diffusion(path, t, norm) * score

    grid = torch.linspace(start, end, points, dtype=time_dtype(x))
    d = grid[1] - grid[0]
    for k, t in enumerate(grid[:-1]):
        kick = torch.sqrt(2 * d * diffusion(path, t, norm)) * noise(k, tuple(x.shape)).to(x)
        x = step(drift, x, t, d, kick)
        if on_step is not None:
            on_step(k, x)
    t = grid[-1]
    if last == "mean":
        x = x + last_step_size * drift(x, t)
    elif last == "euler":
        x = x + last_step_size * velocity_and_score(x, t)[0]
    elif last == "tweedie":
        x = (x + path.sigma(t) ** 2 * velocity_and_score(x, t)[1]) / path.alpha(t)
    if on_step is not None:
        on_step(points - 1, x)
    return x


def sde_interval(path: Path, prediction: str, form: str, last_step: str, last_step_size: float) -> tuple[float, float]:
    """The times between which the stochastic steps run; the last step starts at the second.

    On Linear and GVP the form sbdm grows as 1/t, so that it starts at t = 0.001 with velocity prediction too.
    """
    start, end = sampling_interval(path, prediction)
    if form.lower() == "sbdm" and not isinstance(path, VP):
        start = SAMPLE_EPS
    if last_step.lower() != "none":
        end = 1 - last_step_size
        if not start < end < 1:
            raise UsageError(f"last step size {last_step_size:g} is outside 0 to {1 - start:g}: 0.04 is customary")
    return start, end


def sde_calls(method: str, points: int, last_step: str) -> int:
    """How often a run calls the network."""
    _, calls = choose("SDE method", method, _METHODS)
    return (points - 1) * calls + (choose("last step", last_step, _LAST_STEPS) != "none")


def _euler_maruyama(drift: Drift, x: Tensor, t: Tensor, d: Tensor, kick: Tensor) -> Tensor:
    return x + d * drift(x, t) + kick


def _heun(drift: Drift, x: Tensor, t: Tensor, d: Tensor, kick: Tensor) -> Tensor:
    x = x + kick
    k1 = drift(x, t)
    k2 = drift(x + d * k1, t + d)
    return x + d / 2 * (k1 + k2)


_METHODS: dict[str, tuple[Callable[[Drift, Tensor, Tensor, Tensor, Tensor], Tensor], int]] = {
    "euler": (_euler_maruyama, 1),
    "heun": (_heun, 2),
}
"""Name -> (one step from t to t + d, its network calls)."""
