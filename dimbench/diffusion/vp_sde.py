"""The variance-preserving SDE and its flow backwards in time by Euler's method (Song et al. 2021, arXiv 2011.13456).

beta(t) = 0.1 + 19.9 t. A network is told 999 t and estimates the noise.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from dimbench.diffusion.convention import Network, Noise, OnStep, evaluate, time_dtype
from dimbench.errors import UsageError

FIRST_BETA, LAST_BETA = 0.1, 20.0
LAST_TIME = 1e-3
TOLD = 999


def beta(t: float) -> float:
    return FIRST_BETA + (LAST_BETA - FIRST_BETA) * t


def deviation(t: float) -> float:
    """The noise's coefficient at time t in [0, 1], sqrt(1 - exp(-integral of beta))."""
    return math.sqrt(-math.expm1(-(FIRST_BETA * t + (LAST_BETA - FIRST_BETA) / 2 * t**2)))


@torch.no_grad()
def euler(
    network: Network, x: Tensor, noise: Noise | None = None, *, steps: int = 1000, on_step: OnStep | None = None
) -> Tensor:
    """The sample reached from x, (B, C, ...) noise, in `steps` network calls: along the SDE, Euler-Maruyama, with
    `noise`, one draw per step but the last; without, along the probability flow."""
    check_steps(steps)
    times = [*np.linspace(1, LAST_TIME, steps).tolist(), 0.0]
    share = 0.5 if noise is None else 1.0
    for k, (t, after) in enumerate(pairwise(times)):
        d = t - after
        estimate = evaluate(network, x, TOLD * t, time_dtype(x))
        x = x + beta(t) * d * (0.5 * x - share / deviation(t) * estimate)
        if noise is not None and after > 0:
            x = x + math.sqrt(beta(t) * d) * noise(k, tuple(x.shape)).to(x)
        if on_step is not None:
            on_step(k, x)
    return x


def check_steps(steps: int) -> None:
    """Refuse a number of steps that makes no image."""
    if not isinstance(steps, int) or steps < 1:
        raise UsageError(f"{steps!r} steps make no image: give a whole number of at least 1")


def noise_loss(network: Network, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """(B,) mean squared errors of the network's estimate of `noise`, mixed into the data x0 (B, C, ...) as at the times
    t (B,) in [0, 1]."""
    integral = FIRST_BETA * t + (LAST_BETA - FIRST_BETA) / 2 * t**2
    shaped = integral.view(-1, *[1] * (x0.ndim - 1))
    x = torch.exp(-0.5 * shaped) * x0 + torch.sqrt(-torch.expm1(-shaped)) * noise
    return (network(x, TOLD * t) - noise).square().flatten(1).mean(1)
