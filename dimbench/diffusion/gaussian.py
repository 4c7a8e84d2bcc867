"""DDPM and DDIM sampling.

The network is told the original timestep as int64. It returns its estimate (B, C, ...), of the noise or, with
`predict_xstart`, of x0; or 2C channels, the second half being the variance coordinate v of Nichol & Dhariwal 2021.
Coefficients are float64 scalars that meet x in its own precision.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dimbench.diffusion.convention import Network, Noise, OnStep, evaluate
from dimbench.diffusion.schedules import Array, GaussianSchedule
from dimbench.errors import DimbenchError, UsageError


@torch.no_grad()
def ddpm(
    network: Network,
    x: Tensor,
    schedule: GaussianSchedule,
    noise: Noise,
    *,
    predict_xstart: bool = False,
    clip: bool = False,
    sigma_small: bool = False,
    gradient: Network | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """The sample that ancestral sampling reaches from x, (B, C, ...) noise, in len(schedule) network calls.

    The variance is the network's if it gives one, else the betas, or the posterior's with `sigma_small`; `clip`
    holds the estimate of x0 in [-1, 1]. One draw per step, though the last adds none: a generator shared between
    batches stays in step with the official loop. Ho et al. 2020 (arXiv 2006.11239), algorithm 2. The `gradient` of a
    log-probability, (x, t) -> (B, C, ...), moves the mean by the variance times it: Dhariwal & Nichol 2021
    (arXiv 2105.05233), algorithm 1.
    """
    for k, i in enumerate(reversed(range(len(schedule)))):
        estimate, v = split(evaluate(network, x, schedule.timesteps[i].item(), torch.int64), x)
        x0 = predicted_x0(schedule, i, x, estimate, predict_xstart=predict_xstart, clip=clip)
        log_var = torch.as_tensor(log_variance(schedule, i, x, v, sigma_small=sigma_small))
        z = noise(k, tuple(x.shape)).to(x)
        mean = posterior_mean(schedule, i, x0, x)
        if gradient is not None:
            mean = mean + log_var.exp() * evaluate(gradient, x, schedule.timesteps[i].item(), torch.int64)
        x = mean
        if i > 0:
            x = x + (0.5 * log_var).exp() * z
        if on_step is not None:
            on_step(k, x)
    return x


@torch.no_grad()
def ddim(
    network: Network,
    x: Tensor,
    schedule: GaussianSchedule,
    noise: Noise | None = None,
    *,
    eta: float = 0.0,
    predict_xstart: bool = False,
    clip: bool = False,
    gradient: Network | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """The sample that DDIM reaches from x, (B, C, ...) noise, in len(schedule) network calls.

    eta: 0 (deterministic, `noise` may be left out) to 1 (about DDPM). A `noise` that is given is drawn in every
    step. Song et al. 2021 (arXiv 2010.02502), equations 12 and 16. The `gradient` of a log-probability, (x, t) ->
    (B, C, ...), moves the estimate of the noise: Dhariwal & Nichol 2021 (arXiv 2105.05233), algorithm 2.
    """
    if not 0 <= eta <= 1:
        raise UsageError(f"eta {eta:g} is outside 0 to 1: use 0 for deterministic DDIM, 1 for about DDPM")
    if eta > 0 and noise is None:
        raise UsageError(f"DDIM with eta {eta:g} needs noise: give it, or use eta 0")
    for k, i in enumerate(reversed(range(len(schedule)))):
        x0, eps = _estimates(network, x, schedule, i, predict_xstart, clip)
        if gradient is not None:
            away = evaluate(gradient, x, schedule.timesteps[i].item(), torch.int64)
            eps = eps - (1 - schedule.alphas_cumprod[i].item()) ** 0.5 * away
            x0 = predicted_x0(schedule, i, x, eps)
        # The published samples form this difference of near equals in float32.
        here, before = np.float32(schedule.alphas_cumprod[i]), np.float32(schedule.alphas_cumprod_prev[i])
        sigma = eta * np.sqrt((1 - before) / (1 - here)) * np.sqrt(1 - here / before)
        z = noise(k, tuple(x.shape)).to(x) if noise is not None else None
        x = float(np.sqrt(before)) * x0 + float(np.sqrt(1 - before - sigma**2)) * eps
        if z is not None and sigma > 0:
            x = x + float(sigma) * z
        if on_step is not None:
            on_step(k, x)
    return x


@torch.no_grad()
def ddim_reverse_step(
    network: Network,
    x: Tensor,
    schedule: GaussianSchedule,
    i: int,
    *,
    predict_xstart: bool = False,
    clip: bool = False,
) -> Tensor:
    """x_{i+1} from x_i: one deterministic DDIM step towards the noise; after the last step, i = n - 1, noise alone."""
    x0, eps = _estimates(network, x, schedule, i, predict_xstart, clip)
    after = schedule.alphas_cumprod_next[i].item()
    return after**0.5 * x0 + (1 - after) ** 0.5 * eps


def noise_of_velocity(network: Network, schedule: GaussianSchedule) -> Network:
    """A network that estimates the noise, of one that estimates the velocity; `schedule` is the whole process."""

    def estimate(x: Tensor, t: Tensor) -> Tensor:
        velocity, v = split(network(x, t), x)
        share = schedule.alphas_cumprod
        i = t.cpu()
        noise = at(share**0.5, i, x) * velocity + at((1 - share) ** 0.5, i, x) * x
        return noise if v is None else torch.cat([noise, v], dim=1)

    return estimate


def _estimates(
    network: Network, x: Tensor, schedule: GaussianSchedule, i: int, predict_xstart: bool, clip: bool
) -> tuple[Tensor, Tensor]:
    """The estimate of x0, and the noise that agrees with it."""
    estimate, _ = split(evaluate(network, x, schedule.timesteps[i].item(), torch.int64), x)
    x0 = predicted_x0(schedule, i, x, estimate, predict_xstart=predict_xstart, clip=clip)
    eps = (at(schedule.x0_from_x, i, x) * x - x0) / at(schedule.x0_from_noise, i, x)
    return x0, eps


def split(out: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """A network's output as (estimate, v), v being None where the network gives no variance."""
    channels = x.shape[1]
    if out.shape[1] == channels:
        return out, None
    if out.shape[1] == 2 * channels:
        estimate, v = out.chunk(2, dim=1)
        return estimate, v
    raise DimbenchError(
        f"the network returned {out.shape[1]} channels for {channels} of its input: expected {channels}, or "
        f"{2 * channels} with the variance"
    )


def at(array: Array, i: int | Tensor, x: Tensor) -> float | Tensor:
    """Element i of `array` as a scalar, or for indices i (B,) one per sample, (B, 1, ...) to broadcast over x."""
    if isinstance(i, int):
        return float(array[i])
    values = torch.from_numpy(array).to(x.dtype).to(x.device)
    return values[i].view(-1, *[1] * (x.ndim - 1))


def predicted_x0(
    schedule: GaussianSchedule,
    i: int | Tensor,
    x: Tensor,
    estimate: Tensor,
    *,
    predict_xstart: bool = False,
    clip: bool = False,
) -> Tensor:
    """The estimate of x0 at step i (one, or one per sample) from the network's estimate; shape of x."""
    if not predict_xstart:
        estimate = at(schedule.x0_from_x, i, x) * x - at(schedule.x0_from_noise, i, x) * estimate
    return estimate.clamp(-1, 1) if clip else estimate


def posterior_mean(schedule: GaussianSchedule, i: int | Tensor, x0: Tensor, x: Tensor) -> Tensor:
    """The mean of q(x_{i-1} | x_i = x, x0); shape of x. Ho et al. 2020, equation 7."""
    return at(schedule.posterior_mean_coef1, i, x) * x0 + at(schedule.posterior_mean_coef2, i, x) * x


def log_variance(
    schedule: GaussianSchedule, i: int | Tensor, x: Tensor, v: Tensor | None, *, sigma_small: bool = False
) -> float | Tensor:
    """The log variance of p(x_{i-1} | x_i): fixed without v, else v = -1..1 spans posterior to beta in the logarithm.

    Nichol & Dhariwal 2021, equation 15; v is not clamped.
    """
    smallest = at(schedule.posterior_log_variance_clipped, i, x)
    if v is None:
        return smallest if sigma_small else at(schedule.fixed_large_log_variance, i, x)
    share = (v + 1) / 2
    return share * at(schedule.log_betas, i, x) + (1 - share) * smallest
