"""How much noise a sample holds at a time that a network is told."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dimbench.diffusion.flow import Flow
from dimbench.diffusion.process import Gaussian, Process, Transport
from dimbench.diffusion.schedules import schedule
from dimbench.errors import UsageError


def of_times(process: Process, times: Sequence[float]) -> tuple[float, ...]:
    """`sigma` at each of the times."""
    return tuple(sigma(process, t) for t in times)


def sigma(process: Process, t: float) -> float:
    """The ratio of noise to data at the network's time t. UsageError for a process of which it is not known here."""
    if isinstance(process, Gaussian):
        full = schedule("", noise_schedule=process.noise_schedule, diffusion_steps=process.diffusion_steps)
        return float(full.x0_from_noise[round(t)])
    if isinstance(process, Transport):
        at = torch.tensor(1 - t if process.noise_at else t, dtype=torch.float64)
        alpha = float(process.path.alpha(at))
        return float(process.path.sigma(at)) / alpha if alpha else float("inf")
    raise UsageError(
        f"the noise level sigma at a time of {type(process).__name__} is not known here; give the times themselves, as "
        f"in --with interval:low=...,high=...{_told(process)}"
    )


def _told(process: Process) -> str:
    return ", in the shares of noise that it is told" if isinstance(process, Flow) else ""
