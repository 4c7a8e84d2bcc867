"""How much noise a sample holds at a time that a network is told."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from dimbench.diffusion import dpm_solver, vp_sde
from dimbench.diffusion.flow import Flow
from dimbench.diffusion.process import Gaussian, Process, StableDiffusion, Transport, VariancePreserving
from dimbench.diffusion.schedules import schedule


def of_times(process: Process, times: Sequence[float]) -> tuple[float, ...]:
    """`sigma` at each of the times."""
    return tuple(sigma(process, t) for t in times)


def sigma(process: Process, t: float) -> float:
    """The ratio of noise to data at the network's time t; of a mean flow's two times at the noisier."""
    data, noise = _coefficients(process, t)
    return noise / data if data > 0 else math.inf


def _coefficients(process: Process, t: float) -> tuple[float, float]:
    """What data and noise are multiplied by."""
    if isinstance(process, Gaussian):
        full = schedule("", noise_schedule=process.noise_schedule, diffusion_steps=process.diffusion_steps)
        return 1.0, float(full.x0_from_noise[round(t)])
    if isinstance(process, Transport):
        at = torch.tensor(1 - t if process.noise_at else t, dtype=torch.float64)
        return float(process.path.alpha(at)), float(process.path.sigma(at))
    if isinstance(process, StableDiffusion):
        told = t / dpm_solver.DIFFUSION_STEPS
        return dpm_solver.alpha(told), dpm_solver.sigma(told)
    if isinstance(process, VariancePreserving):
        noise = vp_sde.deviation(t / vp_sde.TOLD)
        return math.sqrt(1 - noise**2), noise
    if isinstance(process, Flow):
        told = t / process.time_scale
        share = told if process.noise_at else 1 - told
        return 1 - share, process.noise_scale * share
    return 1 - t, getattr(process, "noise_scale", 1.0) * t
