"""The toy networks of the golden trajectories (their formulas stand in tests/golden/dit/diffusion.json)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dimbench.diffusion.transport import Path
from tests import golden_data

Network = Callable[..., Tensor]
NULL = 1000


def rows(t: Tensor, x: Tensor) -> Tensor:
    """t (B,) as float32, shaped to broadcast over x."""
    return t.float().view(-1, *[1] * (x.ndim - 1))


def gaussian_noise(x: Tensor, t: Tensor) -> Tensor:
    return 0.3 * x + 0.1 * torch.sin(rows(t, x) / 100)


def gaussian(x: Tensor, t: Tensor) -> Tensor:
    return torch.cat([gaussian_noise(x, t), 0.2 * torch.tanh(x)], dim=1)


def gaussian_labelled(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    strength = 0.3 + 0.05 * rows(torch.where(y == NULL, 0, y), x)
    return torch.cat([strength * x + 0.1 * torch.sin(rows(t, x) / 100), 0.2 * torch.tanh(x)], dim=1)


def velocity_labelled(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    strength = 0.3 + 0.02 * rows(torch.where(y == NULL, 0, y), x)
    return 0.5 * torch.tanh(x) - strength * x + 0.2 * torch.cos(3 * rows(t, x))


def dim_labelled(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """The network of DiM's samplers, told times up to 1000; positions are those of the tensor at hand."""
    tau, k = rows(t, x) / 1000, (y / 1000).to(x.dtype).view(-1, 1, 1, 1)
    c, h, w = (torch.arange(n, dtype=x.dtype) for n in x.shape[1:])
    place = 0.5 * c[:, None, None] + 0.7 * h[:, None] / x.shape[2] - 0.4 * w / x.shape[3]
    wave = 0.2 * torch.sin(3 * tau + place) * (0.5 + k)
    return (0.7 * tau + 0.2) * x + 0.3 * torch.tanh(x.roll(1, dims=-1) + k) + wave


TRANSPORT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "velocity": lambda x, t: 0.5 * torch.tanh(x) - 0.3 * x + 0.2 * torch.cos(3 * rows(t, x)),
    "noise": lambda x, t: 0.9 * x + 0.1 * torch.cos(3 * rows(t, x)),
    "score": lambda x, t: -0.9 * x + 0.1 * torch.cos(3 * rows(t, x)),
    "wavy": lambda x, t: 2 * torch.cos(20 * rows(t, x)) * torch.tanh(2 * x) - x,
}


class States(dict[int, Tensor]):
    """An `on_step` that keeps every state."""

    def __call__(self, k: int, x: Tensor) -> None:
        self[k] = x


class CountedNoise:
    """The golden noise, with the draws asked for so far in `draws`."""

    def __init__(self) -> None:
        self.draws: list[int] = []

    def __call__(self, k: int, shape: tuple[int, ...]) -> Tensor:
        self.draws.append(k)
        return golden_data.noise(k, shape)


def exact_velocity(path: Path, mean: float, deviation: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The velocity network that is exact for independent data N(mean, deviation^2).

    The flow then maps noise x to mean + deviation * x, if the path starts at pure noise and ends at pure data.
    """

    def network(x: Tensor, t: Tensor) -> Tensor:
        t = t.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
        alpha, d_alpha, sigma, d_sigma = path.alpha(t), path.d_alpha(t), path.sigma(t), path.d_sigma(t)
        variance = (alpha * deviation) ** 2 + sigma**2
        half_growth = alpha * d_alpha * deviation**2 + sigma * d_sigma
        return d_alpha * mean + half_growth / variance * (x - alpha * mean)

    return network
