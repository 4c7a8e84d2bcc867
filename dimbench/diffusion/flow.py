"""Straight paths between data and noise as the newer flow models use them: grids of times of their own, the clean data
as what is predicted, times drawn where learning is hard.

x_t = (1 - n) data + n noise, where the share of noise n is 1 - t (`noise_at` 0) or t (`noise_at` 1); the velocity is
dx_t/dt. Liu et al. 2022 (arXiv 2209.03003); times by a normal's sigmoid: Esser et al. 2024 (arXiv 2403.03206).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from dimbench.diffusion.convention import Network, Noise, OnStep, check_numbers, check_points, choose, evaluate
from dimbench.errors import UsageError

GRIDS = {name: name for name in ("steps", "points", "leap")}


def on_line(place: float, few: float, there: float, many: float, here: float) -> float:
    """Where a line is at `place` that goes through `there` at `few` and `here` at `many`."""
    return there + (here - there) * (place - few) / (many - few)


@dataclass(frozen=True)
class Flow:
    """A straight path and how it is trained and walked.

    `prediction`: the network's output is the velocity or the data; data at share n of noise become a velocity by
    division by max(n, `clamp`). `grid`: "steps" are so many even steps from noise to data, "points" as many times, both
    ends included, "leap" as many times and a last step to the data; `stop` is the share of data at which the even part
    of the last two ends. `shift` s moves each time t to s t / (1 + (s - 1) t); with `shift_by_steps`, a line over the
    number of steps as `on_line` takes it, s is e to the minus what that gives. Times are then stretched so that the
    last step begins at the share `terminal` of noise, unless that is 0. `noise_scale` is the noise's standard
    deviation, `time_scale` what times are multiplied by for the network. Training draws the sigmoid of a normal of
    `mean` and `std`; with `shift_training` it is shifted too; `cosine` adds one minus the cosine over channels.
    """

    noise_at: int = 0
    prediction: str = "velocity"
    clamp: float = 0.05
    grid: str = "points"
    stop: float = 1.0
    shift: float = 1.0
    shift_by_steps: Sequence[float] = ()
    terminal: float = 0.0
    noise_scale: float = 1.0
    time_scale: float = 1.0
    mean: float = 0.0
    std: float = 1.0
    shift_training: bool = False
    cosine: bool = False
    samplers: ClassVar[tuple[str, ...]] = ("euler", "heun")

    def __post_init__(self) -> None:
        choose("prediction", self.prediction, {"velocity": "", "data": ""})
        choose("grid", self.grid, GRIDS)
        check_numbers(self, ("clamp", "shift", "noise_scale", "time_scale", "std"))
        if not 0 < self.stop <= 1 or not 0 <= self.terminal < 1:
            raise UsageError(
                f"stop {self.stop:g} and terminal {self.terminal:g} are no shares of data and noise that a run can end "
                "with; give a stop above 0 and at most 1, and a terminal of at least 0 and below 1"
            )
        if self.noise_at not in (0, 1):
            raise UsageError(f"noise_at {self.noise_at} is no end of the path; give 0 or 1")
        if len(self.shift_by_steps) not in (0, 4):
            raise UsageError(f"shift_by_steps {list(self.shift_by_steps)} is no line; give [few, there, many, here]")
        if self.prediction == "data" and self.noise_at:
            raise UsageError("data are predicted on the path with noise at time 0; leave noise_at out")

    def times(self, steps: int) -> Tensor:
        """The times of a run, from noise to data."""
        share = torch.linspace(0, 1, steps + 1) if self.grid == "steps" else torch.linspace(0, self.stop, steps)
        if self.grid == "leap":
            share = torch.cat([share, torch.ones(1)])
        shift = math.exp(-on_line(steps, *self.shift_by_steps)) if self.shift_by_steps else self.shift
        times = _shifted(1 - share if self.noise_at else share, shift)
        if self.terminal and steps > 1:
            data = 1 - self.noise_share(times)
            data[:-1] *= (1 - self.terminal) / data[-2]
            times = 1 - data if self.noise_at else data
        return times

    def shifted(self, t: Tensor) -> Tensor:
        return _shifted(t, self.shift)

    def noise_share(self, t: Tensor) -> Tensor:
        return t if self.noise_at else 1 - t

    def velocity(self, out: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """What the network's output at x says of dx/dt; t broadcasts over x."""
        return out if self.prediction == "velocity" else (out - x) / self.noise_share(t).clamp(min=self.clamp)

    def check(self, sampler: str, steps: int) -> None:
        choose("sampler", sampler, dict.fromkeys(self.samplers))
        if self.grid == "points":
            check_points(steps)
        elif not isinstance(steps, int) or steps < 1:
            raise UsageError(f"{steps!r} steps reach no data: give a whole number of at least 1")

    def loss(self, network: Network, x: Tensor, generator: torch.Generator) -> Tensor:
        normal = torch.randn(len(x), generator=generator, device=x.device)
        t = torch.sigmoid(self.mean + self.std * normal)
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        squared, cosine = flow_errors(network, x, noise, self.shifted(t) if self.shift_training else t, self)
        return squared + cosine if self.cosine else squared

    def sample(
        self, network: Network, x: Tensor, noise: Noise, sampler: str, steps: int, on_step: OnStep | None = None
    ) -> Tensor:
        self.check(sampler, steps)
        return sample_flow(network, self.noise_scale * x, self, self.times(steps), sampler, on_step)


def _shifted(t: Tensor, shift: float) -> Tensor:
    return shift * t / (1 + (shift - 1) * t)


def flow_errors(network: Network, data: Tensor, noise: Tensor, t: Tensor, flow: Flow) -> tuple[Tensor, Tensor]:
    """(B,) mean squared errors of the velocity, and means over places of one minus its cosine over channels.

    noise: standard normal of the data's shape; t: (B,).
    """
    time = t.view(-1, *[1] * (data.ndim - 1))
    noise = flow.noise_scale * noise
    share = flow.noise_share(time)
    x = (1 - share) * data + share * noise
    out = flow.velocity(network(x, flow.time_scale * t), x, time)
    if flow.prediction == "data":
        target = flow.velocity(data, x, time)  # clamped as the output is, so that the error is one of the data
    else:
        target = noise - data if flow.noise_at else data - noise
    cosine = 1 - F.cosine_similarity(out, target, dim=1)
    return (out - target).square().flatten(1).mean(1), cosine.flatten(1).mean(1)


@torch.no_grad()
def sample_flow(
    network: Network, x: Tensor, flow: Flow, times: Tensor, method: str, on_step: OnStep | None = None
) -> Tensor:
    """What the flow carries x, noise at the first of the times, to at the last.

    heun: Heun's method, its last step one of Euler (Li & He 2025, arXiv 2511.13720).
    """

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return flow.velocity(evaluate(network, x, flow.time_scale * t.item(), t.dtype), x, t)

    last = len(times) - 2
    for k, (t, after) in enumerate(pairwise(times)):
        step, slope = after - t, velocity(x, t)
        if method == "heun" and k < last:
            slope = (slope + velocity(x + step * slope, after)) / 2
        x = x + step * slope
        if on_step is not None:
            on_step(k, x)
    return x
