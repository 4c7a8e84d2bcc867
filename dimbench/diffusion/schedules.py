"""Noise schedules of Gaussian diffusion in float64, and the choice of the timesteps that sampling keeps."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dimbench.diffusion.convention import choose
from dimbench.errors import UsageError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GaussianSchedule:
    """q(x_i | x_{i-1}) = N(sqrt(1 - betas[i]) x_{i-1}, betas[i]) and what follows from it.

    `timesteps[i]` is what the network is told at step i; every other array is float64 of the same length. x_{-1} is the
    data, or with `end` below 1 data of that alphas_cumprod. Ho et al. 2020 (arXiv 2006.11239), equations 2 to 7.
    """

    timesteps: NDArray[np.int64]
    betas: Array
    end: float = 1.0

    def __len__(self) -> int:
        return len(self.betas)

    @cached_property
    def alphas_cumprod(self) -> Array:
        return self.end * np.cumprod(1.0 - self.betas, dtype=np.float64)

    @cached_property
    def alphas_cumprod_prev(self) -> Array:
        return np.append(self.end, self.alphas_cumprod[:-1])

    @cached_property
    def alphas_cumprod_next(self) -> Array:
        return np.append(self.alphas_cumprod[1:], 0.0)

    @cached_property
    def x0_from_x(self) -> Array:
        """x0 = x0_from_x * x - x0_from_noise * noise."""
        return np.sqrt(1.0 / self.alphas_cumprod)

    @cached_property
    def x0_from_noise(self) -> Array:
        return np.sqrt(1.0 / self.alphas_cumprod - 1.0)

    @cached_property
    def posterior_variance(self) -> Array:
        """Variance of q(x_{i-1} | x_i, x0); 0 at i = 0."""
        return self.betas * (1.0 - self.alphas_cumprod_prev) / (1.0 - self.alphas_cumprod)

    @cached_property
    def posterior_log_variance_clipped(self) -> Array:
        """Its logarithm, with the first element (log 0) replaced by the second."""
        return np.log(np.append(self.posterior_variance[1], self.posterior_variance[1:]))

    @cached_property
    def log_betas(self) -> Array:
        return np.log(self.betas)

    @cached_property
    def fixed_large_log_variance(self) -> Array:
        """log(betas), with the first element replaced by the posterior's second."""
        return np.log(np.append(self.posterior_variance[1], self.betas[1:]))

    @cached_property
    def posterior_mean_coef1(self) -> Array:
        """The mean of q(x_{i-1} | x_i, x0) is coef1 * x0 + coef2 * x_i."""
        return self.betas * np.sqrt(self.alphas_cumprod_prev) / (1.0 - self.alphas_cumprod)

    @cached_property
    def posterior_mean_coef2(self) -> Array:
        return (1.0 - self.alphas_cumprod_prev) * np.sqrt(1.0 - self.betas) / (1.0 - self.alphas_cumprod)


def schedule(
    respacing: str | int = "", *, noise_schedule: str = "linear", diffusion_steps: int = 1000, offset: int = 0
) -> GaussianSchedule:
    """The process that visits the timesteps chosen by `respacing` out of `diffusion_steps`.

    respacing: "" for all; "N" for N evenly spaced ones, both ends included; "a,b,c" for a, b and c of them in
    consecutive sections; "ddimN" for N at an integer stride from 0. noise_schedule: linear, squaredcos_cap_v2 or
    latent-diffusion. offset: how much higher all of them are taken; the process then ends at timestep offset - 1.
    The kept timesteps keep their cumulative noise (Nichol & Dhariwal 2021, arXiv 2102.09672, section 4).
    A UsageError refuses what cannot be respaced, and a process of one step, whose variance is undefined.
    """
    base = base_betas(noise_schedule, diffusion_steps)
    kept = np.array(kept_timesteps(str(respacing), diffusion_steps), dtype=np.int64) + offset
    if len(kept) < 2:
        raise UsageError("the variance of a process of 1 step is undefined: ask for at least 2 steps")
    if kept[-1] >= diffusion_steps:
        raise UsageError(
            f"{len(kept)} steps, each {offset} higher, go beyond {diffusion_steps} timesteps: ask for fewer steps"
        )
    every = np.cumprod(1.0 - base)
    end = every[offset - 1] if offset else 1.0
    cumulative = every[kept]
    return GaussianSchedule(kept, 1.0 - cumulative / np.append(end, cumulative[:-1]), end)


def base_betas(noise_schedule: str, steps: int) -> Array:
    """The (steps,) betas of a named schedule before respacing."""
    make = choose("noise schedule", noise_schedule, _BASE_BETAS)
    if not isinstance(steps, int) or steps < 2:
        raise UsageError(f"{steps!r} diffusion steps make no process: give a whole number of at least 2")
    betas = make(steps)
    if betas.max() >= 1.0:
        raise UsageError(
            f"{steps} diffusion steps are too few for the {noise_schedule} schedule, whose last beta would be "
            f"{betas.max():g}: give more"
        )
    return betas


def _linear(steps: int) -> Array:
    scale = 1000.0 / steps
    return np.linspace(scale * 1e-4, scale * 0.02, steps)


def _squared_cosine(steps: int) -> Array:
    """Nichol & Dhariwal 2021, equation 17."""
    cumulative = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1.0 - cumulative[1:] / cumulative[:-1], 0.999)


def _latent_diffusion(steps: int) -> Array:
    """Rombach et al. 2022 (arXiv 2112.10752), of the class-conditional model: linear in the square root."""
    return np.linspace(0.0015**0.5, 0.0195**0.5, steps) ** 2


_BASE_BETAS: dict[str, Callable[[int], Array]] = {
    "linear": _linear,
    "squaredcos_cap_v2": _squared_cosine,
    "latent-diffusion": _latent_diffusion,
}


def kept_timesteps(respacing: str, steps: int) -> list[int]:
    """The timesteps out of 0..steps-1 that `respacing` (see `schedule`) keeps, rising."""
    if respacing == "":
        return list(range(steps))
    if match := re.fullmatch(r"ddim(\d+)", respacing):
        return _strided(int(match[1]), steps)
    if not re.fullmatch(r"\d+(,\d+)*", respacing) or 0 in (counts := [int(n) for n in respacing.split(",")]):
        raise UsageError(
            f"respacing {respacing!r} is not understood: give a positive number of steps, such numbers separated by "
            "commas, or ddimN"
        )
    return _sections(counts, steps)


def _strided(count: int, steps: int) -> list[int]:
    for stride in range(1, steps):
        kept = range(0, steps, stride)
        if len(kept) == count:
            return list(kept)
    possible = sorted({len(range(0, steps, stride)) for stride in range(1, steps)}, key=lambda n: abs(n - count))
    nearest = " or ".join(str(n) for n in sorted(possible[:2]))
    raise UsageError(f"no integer stride takes exactly {count} of {steps} timesteps: ask for {nearest} steps")


def _sections(counts: list[int], steps: int) -> list[int]:
    """Evenly spread timesteps of each section; the first (steps mod sections) sections are one longer."""
    short, longer = divmod(steps, len(counts))
    kept, start = [], 0
    for index, count in enumerate(counts):
        length = short + (index < longer)
        if count > length:
            raise UsageError(f"{count} steps were asked of {length} timesteps: ask for at most {length}")
        stride = (length - 1) / (count - 1) if count > 1 else 1.0
        # A running sum, not k * stride: its rounding decides some ties in the published lists.
        offset = 0.0
        for _ in range(count):
            kept.append(start + round(offset))
            offset += stride
        start += length
    return kept
