"""The process a family was trained on, as its preset describes it: a loss to train with and samplers to draw with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn

from dimbench.diffusion import dpm_solver, vp_sde
from dimbench.diffusion.convention import Network, Noise, OnStep, check_points, choose, evaluate
from dimbench.diffusion.flow import Flow
from dimbench.diffusion.gaussian import ddim, ddpm, noise_of_velocity
from dimbench.diffusion.gaussian_loss import training_loss, velocity_loss
from dimbench.diffusion.ode import sample_ode
from dimbench.diffusion.schedules import GaussianSchedule, schedule
from dimbench.diffusion.sde import sample_sde
from dimbench.diffusion.transport import Path, find_path, training_interval, transport_loss
from dimbench.diffusion.two_times import ImprovedMeanFlow, MeanFlow
from dimbench.diffusion.upsample_guidance import upsampled
from dimbench.errors import UsageError

P = TypeVar("P")
_PASSES = 3  # the backward pass computes two products for each of the forward pass


class Process(Protocol):
    """What training and sampling need of a process."""

    samplers: ClassVar[tuple[str, ...]]

    def loss(self, network: Network, x: Tensor, generator: torch.Generator) -> Tensor:
        """(B,) losses on data x (B, C, ...), times and noise drawn from `generator`, which lies on its device."""

    def sample(
        self, network: Network, x: Tensor, noise: Noise, sampler: str, steps: int, on_step: OnStep | None = None
    ) -> Tensor:
        """Data from noise x (B, C, ...). UsageError for an unknown sampler or number of steps."""

    def check(self, sampler: str, steps: int) -> None:
        """Raise the UsageError that `sample` would, before any work is done."""


def mean_loss(
    process: Process, model: nn.Module, call: Callable[..., Tensor], x: Tensor, generator: torch.Generator
) -> Tensor:
    """The mean loss on data x (B, C, ...) of call(x, t, **form), added up over the forms that `model` is trained in,
    all on the same times and noise."""
    state, losses = generator.get_state(), []
    for form in forms_in_training(model):
        generator.set_state(state)
        losses.append(process.loss(partial(call, **form), x, generator).mean())
    return torch.stack(losses).sum()


def training_passes(process: Process, model: nn.Module) -> int:
    """As how many forward passes of `model` a training step counts: by its loss, in each form that it is trained in."""
    return getattr(process, "passes", _PASSES) * len(forms_in_training(model))


def forms_in_training(model: nn.Module) -> Sequence[Mapping[str, Any]]:
    """What `model` is told besides in each of its passes of a training step; most have one, and are told nothing."""
    return getattr(model, "forms_in_training", ({},))


@dataclass(frozen=True)
class Gaussian:
    """A diffusion of `diffusion_steps`, DiT's where nothing else is said; `prediction` is of the noise, the data or the
    velocity sqrt(a) noise - sqrt(1 - a) data (Salimans & Ho 2022, arXiv 2202.00512); `steps` are evenly spaced
    timesteps, both ends included, or with `strided`, as latent diffusion takes them, 1 and every so many after
    it. `clip` holds the
    estimate of the data in [-1, 1]; a variance that the network does not give is the betas, or with `sigma_small` the
    posterior's.
    """

    noise_schedule: str = "linear"
    diffusion_steps: int = 1000
    strided: bool = False
    clip: bool = False
    sigma_small: bool = False
    prediction: str = "noise"
    samplers: ClassVar[tuple[str, ...]] = ("ddpm", "ddim")

    def __post_init__(self) -> None:
        choose("prediction", self.prediction, dict.fromkeys(("noise", "data", "velocity")))

    def loss(self, network: Network, x: Tensor, generator: torch.Generator) -> Tensor:
        full = self._visited()
        i = torch.randint(len(full), (len(x),), generator=generator, device=x.device)
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        if self.prediction == "velocity":
            return velocity_loss(network, x, i, noise, full)
        return training_loss(network, x, i, noise, full, predict_xstart=self.prediction == "data")

    def check(self, sampler: str, steps: int) -> None:
        choose("sampler", sampler, dict.fromkeys(self.samplers))
        self._visited(steps)

    def _visited(self, steps: int | None = None) -> GaussianSchedule:
        """The process at so many steps, all of them where None."""
        common: dict[str, Any] = {"noise_schedule": self.noise_schedule, "diffusion_steps": self.diffusion_steps}
        if self.strided and steps is not None:
            return schedule(f"ddim{steps}", offset=1, **common)
        return schedule("" if steps is None else str(steps), **common)

    def sample(
        self, network: Network, x: Tensor, noise: Noise, sampler: str, steps: int, on_step: OnStep | None = None
    ) -> Tensor:
        return self.guided(network, x, noise, sampler, steps, on_step)

    def guided(
        self,
        network: Network,
        x: Tensor,
        noise: Noise,
        sampler: str,
        steps: int,
        on_step: OnStep | None = None,
        gradient: Network | None = None,
    ) -> Tensor:
        """As `sample`, moved by the `gradient` of a log-probability, (x, t) -> (B, C, ...), where there is one."""
        self.check(sampler, steps)
        if self.prediction == "velocity":
            network = noise_of_velocity(network, self._visited())
        common: dict[str, Any] = {
            "clip": self.clip, "on_step": on_step, "predict_xstart": self.prediction == "data", "gradient": gradient,
        }  # fmt: skip
        if sampler == "ddim":
            return ddim(network, x, self._visited(steps), **common)  # deterministic
        return ddpm(network, x, self._visited(steps), noise, sigma_small=self.sigma_small, **common)


@dataclass(frozen=True)
class Transport:
    """A path between noise and data; `steps` are the points of the time grid, so one step less is taken. A network with
    `noise_at` 1 is told 1 - t and predicts the velocity towards the noise."""

    path: Path
    prediction: str
    noise_at: int = 0
    samplers: ClassVar[tuple[str, ...]] = ("euler", "heun2", "midpoint", "rk4", "dopri5", "sde-euler", "sde-heun")

    def loss(self, network: Network, x: Tensor, generator: torch.Generator) -> Tensor:
        start, end = training_interval(self.path, self.prediction)
        t = start + (end - start) * torch.rand(len(x), generator=generator, device=x.device)
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        return transport_loss(self._forwards(network), x, noise, t, self.path, prediction=self.prediction)

    def _forwards(self, network: Network) -> Network:
        return (lambda x, t: -network(x, 1 - t)) if self.noise_at else network

    def check(self, sampler: str, steps: int) -> None:
        choose("sampler", sampler, dict.fromkeys(self.samplers))
        check_points(steps)

    def sample(
        self, network: Network, x: Tensor, noise: Noise, sampler: str, steps: int, on_step: OnStep | None = None
    ) -> Tensor:
        self.check(sampler, steps)
        network = self._forwards(network)
        common: dict[str, Any] = {"prediction": self.prediction, "points": steps, "on_step": on_step}
        if sampler.startswith("sde-"):
            return sample_sde(network, x, self.path, noise, method=sampler.removeprefix("sde-"), **common)
        return sample_ode(network, x, self.path, method=sampler, **common)


@dataclass(frozen=True)
class StableDiffusion:
    """DiM's noise prediction on Stable Diffusion's schedule; `steps` are network calls, in the first of which a network
    that draws `upsampling` times the side it was made for is also asked about the reduced image."""

    upsampling: int = 1
    samplers: ClassVar[tuple[str, ...]] = dpm_solver.METHODS

    def loss(self, network: Network, x: Tensor, generator: torch.Generator) -> Tensor:
        n = torch.randint(1, dpm_solver.DIFFUSION_STEPS + 1, (len(x),), generator=generator, device=x.device)
        return dpm_solver.noise_loss(network, x, torch.randn(x.shape, generator=generator, device=x.device), n)

    def check(self, sampler: str, steps: int) -> None:
        choose("sampler", sampler, dict.fromkeys(self.samplers))
        dpm_solver.orders(steps)

    def sample(
        self, network: Network, x: Tensor, noise: Noise, sampler: str, steps: int, on_step: OnStep | None = None
    ) -> Tensor:
        self.check(sampler, steps)
        ask = upsampled(self.upsampling) if self.upsampling > 1 else evaluate
        return dpm_solver.dpm_solver(network, x, steps=steps, method=sampler, ask=ask, on_step=on_step)


@dataclass(frozen=True)
class VariancePreserving:
    """Noise prediction on the continuous variance-preserving SDE, as DiM on CIFAR-10; `steps` are network calls."""

    samplers: ClassVar[tuple[str, ...]] = ("euler-maruyama", "euler")

    def loss(self, network: Network, x: Tensor, generator: torch.Generator) -> Tensor:
        t = torch.rand(len(x), generator=generator, device=x.device)
        return vp_sde.noise_loss(network, x, torch.randn(x.shape, generator=generator, device=x.device), t)

    def check(self, sampler: str, steps: int) -> None:
        choose("sampler", sampler, dict.fromkeys(self.samplers))
        vp_sde.check_steps(steps)

    def sample(
        self, network: Network, x: Tensor, noise: Noise, sampler: str, steps: int, on_step: OnStep | None = None
    ) -> Tensor:
        self.check(sampler, steps)
        return vp_sde.euler(network, x, noise if sampler == "euler-maruyama" else None, steps=steps, on_step=on_step)


def _from(process: type[P], settings: Mapping[str, Any]) -> P:
    """The process of those settings that it has fields for."""
    known = {field.name for field in fields(process)}  # type: ignore[arg-type]
    return process(**{name: value for name, value in settings.items() if name in known})


def _flow(settings: Mapping[str, Any]) -> Transport:
    if absent := [name for name in ("path", "prediction") if name not in settings]:
        raise UsageError(f"process flow has no {' and no '.join(absent)}; add it there")
    return Transport(find_path(settings["path"]), settings["prediction"], settings.get("noise_at", 0))


_MAKERS: dict[str, Callable[[Mapping[str, Any]], Process]] = {
    "gaussian": partial(_from, Gaussian),
    "flow": _flow,
    "rectified-flow": partial(_from, Flow),
    "stable-diffusion": lambda settings: StableDiffusion(settings.get("upsampling", 1)),
    "variance-preserving": lambda settings: VariancePreserving(),
    "mean-flow": partial(_from, MeanFlow),
    "improved-mean-flow": partial(_from, ImprovedMeanFlow),
}


def find_process(settings: Mapping[str, Any]) -> Process:
    """The process of a [diffusion] table as preset_files.PROCESSES completes it. UsageError where that names none, and
    for what it has no meaning of."""
    name = settings["process"]
    if name not in _MAKERS:
        raise UsageError(f"unknown process {name!r} in [diffusion]; give one of {', '.join(_MAKERS)}")
    try:
        process = _MAKERS[name](settings)
        choose("sampler", settings.get("sampler", process.samplers[0]), dict.fromkeys(process.samplers))
    except UsageError as error:
        raise UsageError(f"what the network was trained on, as [diffusion] or --process says it: {error}") from None
    return process
