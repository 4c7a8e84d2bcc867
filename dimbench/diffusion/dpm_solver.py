"""DPM-Solver and DPM-Solver++ of singlestep order 3 on Stable Diffusion's schedule, as DiM's authors set them up.

Lu et al. 2022, arXiv 2206.00927 and 2211.01095. Times run from 1, noise, to 0.001; a network is told 1000 times that
and estimates the noise. Coefficients are float64 scalars that meet x in its own precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dimbench.diffusion.convention import Ask, Network, OnStep, choose, evaluate, time_dtype
from dimbench.errors import UsageError

DIFFUSION_STEPS = 1000
LAST_TIME = 1 / DIFFUSION_STEPS
# The betas were made in float64 and rounded before anything was computed from them.
BETAS = (np.linspace(math.sqrt(0.00085), math.sqrt(0.012), DIFFUSION_STEPS) ** 2).astype(np.float32).astype(np.float64)
_TIMES = np.arange(1, DIFFUSION_STEPS + 1) / DIFFUSION_STEPS
_LOG_ALPHAS = 0.5 * np.cumsum(np.log1p(-BETAS))


def log_alpha(t: float) -> float:
    """ln of the data's coefficient at time t in [0.001, 1], linear between the thousandths."""
    return float(np.interp(t, _TIMES, _LOG_ALPHAS))


def alpha(t: float) -> float:
    return math.exp(log_alpha(t))


def sigma(t: float) -> float:
    """The noise's coefficient, sqrt(1 - alpha^2)."""
    return math.sqrt(-math.expm1(2 * log_alpha(t)))


def half_log_snr(t: float) -> float:
    """ln(alpha / sigma)."""
    return log_alpha(t) - math.log(sigma(t))


@dataclass(frozen=True)
class _Form:
    """x_t / kept(t) moves by an integral of the estimate over exp(sign half_log_snr), scaled by added(t)."""

    kept: Callable[[float], float]
    added: Callable[[float], float]
    sign: int


_FORMS = {"dpm-solver": _Form(alpha, sigma, 1), "dpm-solver++": _Form(sigma, alpha, -1)}
METHODS = tuple(_FORMS)


def orders(steps: int) -> list[int]:
    """The orders of the solver's steps that take `steps` network calls: as many of 3 as leave room for a lower end."""
    if not isinstance(steps, int) or steps < 1:
        raise UsageError(f"{steps!r} steps make no image: give a whole number of at least 1")
    thirds, rest = divmod(steps, 3)
    return [3] * thirds + [rest] if rest else [3] * (thirds - 1) + [2, 1]


@torch.no_grad()
def dpm_solver(
    network: Network,
    x: Tensor,
    *,
    steps: int = 50,
    method: str = "dpm-solver++",
    ask: Ask = evaluate,
    on_step: OnStep | None = None,
) -> Tensor:
    """The sample that the solver reaches from x, (B, C, ...) noise, in `steps` network calls.

    method: dpm-solver++ works on the network's estimate of the data, dpm-solver on that of the noise. The grid is
    uniform in time; a step of order o spans o of its intervals. `ask` is how the network is asked. `on_step(k, x)` sees
    the state after each step, k + 1 being the network calls made.
    """
    form = choose("solver", method, _FORMS)

    def estimate(x: Tensor, t: float) -> Tensor:
        dtype = time_dtype(x)
        told = torch.tensor(t, dtype=dtype, device="cpu") * DIFFUSION_STEPS
        noise = ask(network, x, told.item(), dtype)
        return noise if form.sign > 0 else (x - sigma(t) * noise) / alpha(t)

    plan = orders(steps)
    times = np.linspace(1, LAST_TIME, steps + 1).tolist()
    calls = 0
    for order in plan:
        x = _step(estimate, x, times[calls : calls + order + 1], form)
        calls += order
        if on_step is not None:
            on_step(calls - 1, x)
    return x


def noise_loss(network: Network, x0: Tensor, noise: Tensor, n: Tensor) -> Tensor:
    """(B,) mean squared errors of the network's estimate of `noise`, mixed into the data x0 (B, C, ...) as at time
    n / 1000; n (B,) from 1 to 1000, int64. The training of DiM."""
    log_alphas = torch.as_tensor(_LOG_ALPHAS)[n.cpu() - 1].to(x0).view(-1, *[1] * (x0.ndim - 1))
    x = torch.exp(log_alphas) * x0 + torch.sqrt(-torch.expm1(2 * log_alphas)) * noise
    return (network(x, n.to(time_dtype(x))) - noise).square().flatten(1).mean(1)


def _step(estimate: Callable[[Tensor, float], Tensor], x: Tensor, times: Sequence[float], form: _Form) -> Tensor:
    """x at the last of `times` from x at the first, the ones between being the nodes; order = len(times) - 1."""
    start, end = times[0], times[-1]
    order = len(times) - 1
    distances = [half_log_snr(t) - half_log_snr(start) for t in times]
    span = form.sign * distances[-1]
    ratios = [distance / distances[-1] for distance in distances]

    def phi(r: float) -> float:
        return math.expm1(r * span)

    def psi(r: float) -> float:
        return 1 - phi(r) / (r * span)

    first = estimate(x, start)

    def reached(t: float, r: float) -> Tensor:
        return form.kept(t) / form.kept(start) * x - form.added(t) * phi(r) * first

    if order == 1:
        return reached(end, 1)
    change = estimate(reached(times[1], ratios[1]), times[1]) - first
    if order == 2:
        return reached(end, 1) - form.added(end) * phi(1) / (2 * ratios[1]) * change
    r1, r2 = ratios[1:3]
    middle = reached(times[2], r2) + form.added(times[2]) * r2 / r1 * psi(r2) * change
    change = estimate(middle, times[2]) - first
    return reached(end, 1) + form.added(end) / r2 * psi(1) * change
