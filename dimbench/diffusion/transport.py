"""Paths between noise (t = 0) and data (t = 1), what networks predict on them, and the losses.

Ma et al. 2024, SiT (arXiv 2401.08740). A time t is a tensor that broadcasts over x: 0-dimensional in samplers,
(B, 1, ...) in losses.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dimbench.diffusion.convention import Network, choose
from dimbench.errors import UsageError

SAMPLE_EPS = 1e-3
"""How far sampling stays from an end of [0, 1] where a coefficient is singular."""

PREDICTIONS = {name: name for name in ("velocity", "noise", "score")}


@dataclass(frozen=True)
class Path(ABC):
    """x_t = alpha(t) x1 + sigma(t) x0 with x1 data and x0 standard normal; its velocity is dx_t/dt."""

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def d_alpha(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def d_sigma(self, t: Tensor) -> Tensor: ...

    def alpha_ratio(self, t: Tensor) -> Tensor:
        """d log(alpha) / dt."""
        return self.d_alpha(t) / self.alpha(t)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """f of the forward SDE, which runs from data to noise."""
        return -self.alpha_ratio(t) * x

    def drift_var(self, t: Tensor) -> Tensor:
        """q, half the squared diffusion of the forward SDE."""
        sigma = self.sigma(t)
        return self.alpha_ratio(t) * sigma**2 - sigma * self.d_sigma(t)

    def score_from_velocity(self, velocity: Tensor, x: Tensor, t: Tensor) -> Tensor:
        ratio, sigma = self.alpha(t) / self.d_alpha(t), self.sigma(t)
        return (ratio * velocity - x) / (sigma**2 - ratio * self.d_sigma(t) * sigma)

    def noise_from_velocity(self, velocity: Tensor, x: Tensor, t: Tensor) -> Tensor:
        ratio = self.alpha(t) / self.d_alpha(t)
        return (ratio * velocity - x) / (ratio * self.d_sigma(t) - self.sigma(t))

    def velocity_from_score(self, score: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return self.drift_var(t) * score - self.drift(x, t)


@dataclass(frozen=True)
class Linear(Path):
    def alpha(self, t: Tensor) -> Tensor:
        return t

    def d_alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return 1 - t

    def d_sigma(self, t: Tensor) -> Tensor:
        return -torch.ones_like(t)


@dataclass(frozen=True)
class GVP(Path):
    """Generalised variance-preserving: alpha^2 + sigma^2 = 1 along a quarter of a circle."""

    def alpha(self, t: Tensor) -> Tensor:
        return torch.sin(t * math.pi / 2)

    def d_alpha(self, t: Tensor) -> Tensor:
        return math.pi / 2 * torch.cos(t * math.pi / 2)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.cos(t * math.pi / 2)

    def d_sigma(self, t: Tensor) -> Tensor:
        return -math.pi / 2 * torch.sin(t * math.pi / 2)


@dataclass(frozen=True)
class VP(Path):
    """Variance-preserving diffusion, beta rising linearly towards the noise (Song et al. 2021, arXiv 2011.13456)."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def _log_alpha(self, t: Tensor) -> Tensor:
        return -0.25 * (1 - t) ** 2 * (self.beta_max - self.beta_min) - 0.5 * (1 - t) * self.beta_min

    def alpha_ratio(self, t: Tensor) -> Tensor:
        return 0.5 * (1 - t) * (self.beta_max - self.beta_min) + 0.5 * self.beta_min

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(self._log_alpha(t))

    def d_alpha(self, t: Tensor) -> Tensor:
        return self.alpha(t) * self.alpha_ratio(t)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(1 - torch.exp(2 * self._log_alpha(t)))

    def d_sigma(self, t: Tensor) -> Tensor:
        return -torch.exp(2 * self._log_alpha(t)) * self.alpha_ratio(t) / self.sigma(t)

    def drift_var(self, t: Tensor) -> Tensor:
        return self.alpha_ratio(t)


PATHS: dict[str, Path] = {"linear": Linear(), "gvp": GVP(), "vp": VP()}


def find_path(name: str) -> Path:
    """The path called linear, gvp or vp."""
    return choose("path", name, PATHS)


def interval(path: Path, prediction: str, eps: float) -> tuple[float, float]:
    """[t0, t1] without the ends where the coefficients that this prediction needs are singular."""
    predicts_velocity = choose("prediction", prediction, PREDICTIONS) == "velocity"
    if isinstance(path, VP):
        return 0.0, 1.0 - eps
    return (0.0, 1.0) if predicts_velocity else (eps, 1.0 - eps)


def sampling_interval(path: Path, prediction: str) -> tuple[float, float]:
    """The times that the probability-flow ODE is integrated over, from noise to data."""
    return interval(path, prediction, SAMPLE_EPS)


def training_interval(path: Path, prediction: str) -> tuple[float, float]:
    """The times that training draws from, uniformly."""
    return interval(path, prediction, 1e-5 if isinstance(path, VP) else SAMPLE_EPS)


def to_velocity(path: Path, prediction: str, out: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """The velocity of the probability-flow ODE from a network's output; shape of x."""
    if choose("prediction", prediction, PREDICTIONS) == "velocity":
        return out
    return path.velocity_from_score(to_score(path, prediction, out, x, t), x, t)


def to_score(path: Path, prediction: str, out: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """The score, the gradient of log p_t(x), from a network's output; shape of x."""
    match choose("prediction", prediction, PREDICTIONS):
        case "velocity":
            return path.score_from_velocity(out, x, t)
        case "noise":
            return -out / path.sigma(t)
        case _:
            return out


def interpolate(path: Path, x1: Tensor, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(x_t, its velocity) between data x1 and noise x0 at times t that broadcast over them."""
    return path.alpha(t) * x1 + path.sigma(t) * x0, path.d_alpha(t) * x1 + path.d_sigma(t) * x0


_WEIGHTS: dict[str, Callable[[Path, Tensor], Tensor | float]] = {
    "none": lambda path, t: 1.0,
    "velocity": lambda path, t: (path.drift_var(t) / path.sigma(t)) ** 2,
    "likelihood": lambda path, t: path.drift_var(t) / path.sigma(t) ** 2,
}


def transport_loss(
    network: Network,
    x1: Tensor,
    x0: Tensor,
    t: Tensor,
    path: Path,
    *,
    prediction: str = "velocity",
    weight: str = "none",
) -> Tensor:
    """(B,) weighted mean squared error of the network's prediction.

    x1: (B, C, ...) data; x0: standard normal of its shape; t: (B,) within `training_interval`. weight: none, or for
    noise and score velocity or likelihood, which make the error one of the velocity or of the likelihood bound.
    """
    weigh = choose("loss weight", weight, _WEIGHTS)
    prediction = choose("prediction", prediction, PREDICTIONS)
    if prediction == "velocity" and weight.lower() != "none":
        raise UsageError(f"loss weight {weight!r} is for noise and score prediction: leave it out for velocity")
    time = t.view(-1, *[1] * (x1.ndim - 1))
    x, velocity = interpolate(path, x1, x0, time)
    out = network(x, t)
    match prediction:
        case "velocity":
            error = out - velocity
        case "noise":
            error = out - x0
        case _:
            error = out * path.sigma(time) + x0
    return (weigh(path, time) * error**2).flatten(1).mean(1)
