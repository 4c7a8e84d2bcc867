"""Average velocities between two times, by which data are reached in one or two steps.

z_t = (1 - t) data + t noise with velocity v = noise - data; u(z_t; r, t) is its average over [r, t], so that z_r = z_t
- (t - r) u and u = v - (t - r) du/dt along the path. Geng et al. 2025, MeanFlow (arXiv 2505.13447), and its improved
form (arXiv 2512.02012). A network is told both times as one tensor (B, 2): t, then r.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from dimbench.diffusion.convention import Network, Noise, OnStep, check_numbers, choose, time_dtype
from dimbench.errors import UsageError

SAMPLERS = ("average",)
LOSS_FLOOR = 1e-3
IMPROVED_FLOOR = 1e-4


@torch.no_grad()
def sample_average(network: Network, x: Tensor, steps: int, on_step: OnStep | None = None) -> Tensor:
    """Data from noise x (B, C, ...) in `steps` equal steps and as many network calls; what comes behind the C channels
    of x is not looked at."""
    times = torch.linspace(1, 0, steps + 1, dtype=time_dtype(x))
    for k, (t, r) in enumerate(pairwise(times)):
        told = torch.stack([t, r]).to(x.device).expand(len(x), 2)
        x = x - (t - r) * network(x, told)[:, : x.shape[1]].to(x.dtype)
        if on_step is not None:
            on_step(k, x)
    return x


def with_change(network: Network, z: Tensor, t: Tensor, r: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
    """(network(z, [t, r]), its change per time along the path as t moves and r stays), z moving at `velocity`.

    Fused attention has no forward-mode derivative: attention is written out. UsageError where r lies behind t.
    """
    if not t.is_meta and bool((r > t).any()):
        raise UsageError(f"an interval from {r.max():g} to {t.min():g} ends before it starts; give r of at most t")

    def call(z: Tensor, t: Tensor) -> Tensor:
        return network(z, torch.stack([t, r], dim=1))

    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")  # by which torch makes derivatives
        out, change, *_ = torch.func.jvp(call, (z, t), (velocity, torch.ones_like(t)))
    return out, change.detach()


def mean_flow_error(network: Network, z: Tensor, t: Tensor, r: Tensor, velocity: Tensor) -> Tensor:
    """u minus what the identity says it is, shape of z (equation 11); `velocity` is that of the path, or guided."""
    u, change = with_change(network, z, t, r, velocity)
    return u - (velocity - _over(t - r, z) * change).detach()


@torch.no_grad()
def guided_velocity(
    network: Network, null: Network, z: Tensor, t: Tensor, velocity: Tensor, omega: float, kappa: float
) -> Tensor:
    """omega v + kappa u(z; t, t) + (1 - omega - kappa) u(z; t, t, no class), the target that puts guidance of scale
    omega / (1 - kappa) into the weights (appendix, "improved CFG")."""
    now = torch.stack([t, t], dim=1)
    return omega * velocity + kappa * network(z, now) + (1 - omega - kappa) * null(z, now)


def adaptive(loss: Tensor, power: float) -> Tensor:
    """The losses (B,) weighed down where they are large, as the PyTorch port has it: L^2 / (L^2 + 1e-3)^power."""
    squared = loss.square()
    return squared / (squared.detach() + LOSS_FLOOR) ** power


@dataclass(frozen=True)
class MeanFlow:
    """MeanFlow without guidance inside; times are the sigmoid of a normal, two different ones in a share `apart`."""

    mean: float = -0.4
    std: float = 1.0
    apart: float = 0.25
    power: float = 1.0
    noise_scale: float = 1.0
    samplers: ClassVar[tuple[str, ...]] = SAMPLERS
    # of a training step: three forward, for torch multiplies by the weights' change, zero, as well, and two backward
    passes: ClassVar[int] = 5

    def __post_init__(self) -> None:
        check_numbers(self, ("std", "noise_scale"))
        if not 0 <= self.apart <= 1:
            raise UsageError(f"apart {self.apart:g} is no share of pairs of times; give 0 to 1")

    def loss(self, network: Network, x: Tensor, generator: torch.Generator) -> Tensor:
        t, r = self._times(len(x), generator, x.device)
        noise = self.noise_scale * torch.randn(x.shape, generator=generator, device=x.device)
        z = x + _over(t, x) * (noise - x)
        error = mean_flow_error(network, z, t, r, noise - x)
        return adaptive(error.square().flatten(1).sum(1), self.power)

    def _times(self, count: int, generator: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
        normal = torch.randn(2, count, generator=generator, device=device)
        r, t = torch.sigmoid(self.mean + self.std * normal).sort(dim=0).values
        together = torch.rand(count, generator=generator, device=device) >= self.apart
        return t, torch.where(together, t, r)

    def check(self, sampler: str, steps: int) -> None:
        choose("sampler", sampler, dict.fromkeys(self.samplers))
        if not isinstance(steps, int) or steps < 1:
            raise UsageError(f"{steps!r} steps reach no data: give a whole number of at least 1")

    def sample(
        self, network: Network, x: Tensor, noise: Noise, sampler: str, steps: int, on_step: OnStep | None = None
    ) -> Tensor:
        self.check(sampler, steps)
        return sample_average(network, self.noise_scale * x, steps, on_step)


GuidedNetwork = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""(z, times (B, 2), omega, t_min, t_max, each (B,)) -> u and v, (B, 2C, ...)."""


def improved_errors(
    network: GuidedNetwork,
    null: GuidedNetwork,
    z: Tensor,
    t: Tensor,
    r: Tensor,
    velocity: Tensor,
    omega: Tensor,
    t_min: Tensor,
    t_max: Tensor,
) -> tuple[Tensor, Tensor]:
    """(B,) summed squares of the errors of u, as a velocity, and of v, where guidance omega inside [t_min, t_max] is
    one of the network's inputs; `null` is the network without a class. arXiv 2512.02012, section 4."""
    once, never, always = torch.ones_like(t), torch.zeros_like(t), torch.ones_like(t)
    now = torch.stack([t, t], dim=1)
    acting = torch.where((t_min <= t) & (t <= t_max), omega, once)
    with torch.no_grad():
        cond = network(z, now, acting, never, always).chunk(2, dim=1)[1]
        uncond = null(z, now, once, never, always).chunk(2, dim=1)[1]
    target = velocity + _over(1 - 1 / acting, z) * (cond - uncond)
    both, change = with_change(lambda z, times: network(z, times, omega, t_min, t_max), z, t, r, cond)
    u, v = both.chunk(2, dim=1)
    whole = u + _over(t - r, z) * change.chunk(2, dim=1)[0]
    return (whole - target).square().flatten(1).sum(1), (v - target).square().flatten(1).sum(1)


def improved_loss(errors: tuple[Tensor, Tensor]) -> Tensor:
    """(B,) the two errors, each over itself held constant."""
    return sum((error / (error.detach() + IMPROVED_FLOOR) for error in errors), start=torch.zeros_like(errors[0]))


@dataclass(frozen=True)
class ImprovedMeanFlow(MeanFlow):
    """Improved MeanFlow at the network's own guidance, which training holds at none: as many passes as with guidance
    drawn, but guidance is not learned as an input. `clamp` is pixel MeanFlow's: velocities are (z - data) / t, of t at
    least `clamp`."""

    apart: float = 0.5
    clamp: float = 0.0
    passes: ClassVar[int] = 7  # two more without gradients

    def loss(self, network: Network, x: Tensor, generator: torch.Generator) -> Tensor:
        t, r = self._times(len(x), generator, x.device)
        noise = self.noise_scale * torch.randn(x.shape, generator=generator, device=x.device)
        z = x + _over(t, x) * (noise - x)

        def call(z: Tensor, times: Tensor, *_: Tensor) -> Tensor:
            both = network(z, times)
            if both.shape[1] != 2 * z.shape[1]:
                raise UsageError("this network has no second head to train with; give --set disable_v_head=false")
            return both

        velocity = (z - x) / _over(t, x).clamp(min=self.clamp) if self.clamp else noise - x
        once, never = torch.ones_like(t), torch.zeros_like(t)
        return improved_loss(improved_errors(call, call, z, t, r, velocity, once, never, once))


def _over(values: Tensor, x: Tensor) -> Tensor:
    """(B,) shaped to broadcast over x."""
    return values.view(-1, *[1] * (x.ndim - 1))
