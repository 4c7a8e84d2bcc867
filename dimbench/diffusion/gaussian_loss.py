"""The training loss of Gaussian diffusion."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dimbench.diffusion.convention import Network
from dimbench.diffusion.gaussian import at, log_variance, posterior_mean, predicted_x0, split
from dimbench.diffusion.schedules import GaussianSchedule

HALF_BIN = 1 / 255
"""Half the distance between neighbouring 8-bit values in [-1, 1]; the published models use it on latents too."""


def training_loss(
    network: Network,
    x0: Tensor,
    i: Tensor,
    noise: Tensor,
    schedule: GaussianSchedule,
    *,
    predict_xstart: bool = False,
) -> Tensor:
    """(B,) mean squared error of the estimate and, if the network gives a variance, the bound that trains it.

    x0: (B, C, ...) data; i: (B,) int64 indices into the schedule; noise: standard normal of x0's shape.
    Nichol & Dhariwal 2021 (arXiv 2102.09672), section 3.1, with weight 1 on the bound.
    """
    x = noised(schedule, i, x0, noise)
    timesteps = torch.from_numpy(schedule.timesteps).to(i.device)[i]
    estimate, v = split(network(x, timesteps), x)
    loss = _sample_mean((estimate - (x0 if predict_xstart else noise)) ** 2)
    if v is not None:
        mean = predicted_x0(schedule, i, x, estimate.detach(), predict_xstart=predict_xstart)
        loss = loss + variational_bound(schedule, i, x0, x, mean, v)
    return loss


def velocity_loss(network: Network, x0: Tensor, i: Tensor, noise: Tensor, schedule: GaussianSchedule) -> Tensor:
    """(B,) mean squared error of the estimated velocity, arguments as in `training_loss`; a variance is not trained."""
    timesteps = torch.from_numpy(schedule.timesteps).to(i.device)[i]
    x = noised(schedule, i, x0, noise)
    estimate, _ = split(network(x, timesteps), x)
    return _sample_mean((estimate - noised(schedule, i, noise, -x0)) ** 2)


def noised(schedule: GaussianSchedule, i: Tensor, x0: Tensor, noise: Tensor) -> Tensor:
    """x_i, a sample of q(x_i | x0); shape of x0. Ho et al. 2020 (arXiv 2006.11239), equation 4."""
    cumulative = schedule.alphas_cumprod
    return at(cumulative**0.5, i, x0) * x0 + at((1.0 - cumulative) ** 0.5, i, x0) * noise


def variational_bound(
    schedule: GaussianSchedule, i: Tensor, x0: Tensor, x: Tensor, estimated_x0: Tensor, v: Tensor
) -> Tensor:
    """(B,) terms of the bound in bits per element: the KL divergence, and at i = 0 the decoder's likelihood.

    Ho et al. 2020, equations 5 and 13.
    """
    mean = posterior_mean(schedule, i, estimated_x0, x)
    log_var = torch.as_tensor(log_variance(schedule, i, x, v))
    true_mean = posterior_mean(schedule, i, x0, x)
    true_log_var = torch.as_tensor(at(schedule.posterior_log_variance_clipped, i, x))
    gap = log_var - true_log_var
    divergence = 0.5 * (gap - 1 + torch.exp(-gap) + (true_mean - mean) ** 2 * torch.exp(-log_var))
    nats = torch.where(i == 0, -_sample_mean(_log_likelihood(x0, mean, log_var)), _sample_mean(divergence))
    return nats / math.log(2)


def _log_likelihood(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """log of the probability that N(mean, exp(log_var)) gives to x's bin; the outermost bins are open-ended."""
    inverse_deviation = torch.exp(-0.5 * log_var)
    below_upper = _normal_cdf((x - mean + HALF_BIN) * inverse_deviation)
    below_lower = _normal_cdf((x - mean - HALF_BIN) * inverse_deviation)
    probability = torch.where(
        x < -0.999, below_upper, torch.where(x > 0.999, 1 - below_lower, below_upper - below_lower)
    )
    return probability.clamp(min=1e-12).log()


def _normal_cdf(x: Tensor) -> Tensor:
    """The tanh approximation that the published models were trained with."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _sample_mean(x: Tensor) -> Tensor:
    return x.flatten(1).mean(1)
