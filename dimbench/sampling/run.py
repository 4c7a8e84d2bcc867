"""One run of a sampler: what is counted, timed and drawn when an image is meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from dimbench.backbone import Backbone, denoised
from dimbench.diffusion.convention import Counted, Network
from dimbench.diffusion.guidance import ConditionedNetwork, Scale, combined, stacked, within
from dimbench.diffusion.process import Gaussian, Process
from dimbench.errors import DimbenchError, UsageError
from dimbench.layers.inputs import Given
from dimbench.methods.autoguidance import Autoguidance
from dimbench.methods.classifier_guidance import ClassifierGuidance
from dimbench.methods.guiding import Guided, Guiding
from dimbench.methods.method import Method, check_wraps
from dimbench.sampling import guides, noise_levels
from dimbench.sampling.sample_noise import SampleNoise

OnStep = Callable[[int], None]

CALIBRATION_SEED = 2**31
ADAPTIVE = "dopri5"  # chooses its steps by what the network says


@dataclass(frozen=True)
class Settings:
    """What decides a sample besides the network: `guided_channels` 0 guides all channels, `cfg` 1 switches guidance
    off; `guided_interval` are the arguments of guidance.within, None where guidance acts at all times. `methods` are
    applied in their order; in a `dry` run second networks whose weights are not here stay as they were made."""

    sampler: str
    steps: int
    cfg: float = 1.0
    guided_channels: int = 0
    guided_interval: Mapping[str, Any] | None = None
    methods: tuple[Method, ...] = ()
    dry: bool = False

    @property
    def guided(self) -> bool:
        return self.cfg != 1


class Run(nn.Module):
    """forward(noise) -> samples of the noise's rows, images where there is something to `decode` latents with.

    `network` is what runs: the backbone's network in any dtype, compiled or not; the sampler around it keeps its state
    in the noise's dtype. `call` takes the place of the backbone's own way to call it. Of the last run, `calls` counts
    the network's calls and `passes` a sample's ways through it, two in a guided call.
    """

    def __init__(
        self,
        backbone: Backbone,
        network: nn.Module,
        process: Process,
        settings: Settings,
        decode: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.process, self.settings = backbone, process, settings
        self.network = network
        check_wraps(settings.methods, network)
        self.prepared = [method.prepared(network, self._drawn_plainly) for method in settings.methods]
        self.decode = decode
        self.call: ConditionedNetwork = lambda x, t, given: backbone.call(network, x, t, given)
        self.dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
        self.calls = self.passes = self._rows = 0
        self.guide: nn.Module | None = None
        self.toward: nn.Module | None = None
        for method in settings.methods:
            if isinstance(method, Autoguidance):
                self.guided_by, self.guide = guides.opened(method, backbone, network, settings.dry)
            if isinstance(method, ClassifierGuidance) and method.scale:
                self.toward = guides.toward_class(method, backbone, network, settings.dry)

    def forward(self, noise: SampleNoise) -> Tensor:
        x = self.sample(noise)
        return self.decode(x) if self.decode else x

    def sample(self, noise: SampleNoise, on_step: OnStep | None = None) -> Tensor:
        """Samples in the network's own space, (n, *state); `on_step(k)` follows the steps."""
        settings = self.settings
        start = noise(-1, (len(noise.rows), *denoised(self.backbone)))
        self._rows = 0
        with ExitStack() as stack:
            told = [stack.enter_context(applied(self.network)) for applied in self.prepared]
            network = Counted(self._guided(noise, stack, told))
            taken = called = 0  # a step takes several of what some samplers count, or passes several of dopri5's points

            def follow(k: int, _: Tensor) -> None:
                nonlocal taken, called
                taken += network.calls > called
                called = network.calls
                for tell in told:
                    tell(taken)
                if on_step:
                    on_step(k)

            x = self._drawn(network, start, noise, follow)
        if settings.methods and not x.is_meta and not x.isfinite().all():
            given = " and ".join(map(str, settings.methods))
            raise DimbenchError(
                f"samples by --with {given} are not finite; give milder settings, or see whether they are without it"
            )
        self.calls, self.passes = network.calls, self._rows // len(noise.rows)
        state = self.backbone.state
        return x if x.shape[1:] == state else x[:, : prod(state)].reshape(-1, *state)

    def _drawn(
        self, network: Network, start: Tensor, noise: SampleNoise, on_step: Callable[[int, Tensor], None]
    ) -> Tensor:
        how = (noise, self.settings.sampler, self.settings.steps, on_step)
        if self.toward is None:
            return self.process.sample(network, start, *how)
        assert isinstance(self.process, Gaussian), "no other network has a classifier"
        y = self.backbone.given(noise.rows, noise.device)["y"]
        toward = self.toward
        return self.process.guided(network, start, *how, gradient=lambda x, t: toward(x, t, y))

    @torch.inference_mode()
    def _drawn_plainly(self, images: int) -> Tensor:
        """Samples that no run asks for, for methods that learn from them."""
        plain = Run(self.backbone, self.network, self.process, replace(self.settings, methods=()))
        device = str(next(self.network.parameters(), torch.empty(0)).device)
        return plain(SampleNoise(CALIBRATION_SEED, range(images), device))

    def once(self, noise: SampleNoise) -> Tensor:
        """The output of one call as the sampler makes it, at the middle of its times."""
        x = noise(-1, (len(noise.rows), *denoised(self.backbone)))
        return self._bound(noise)(x, torch.full((len(x),), 0.5, device=x.device))

    def _guided(self, noise: SampleNoise, stack: ExitStack, told: list[OnStep]) -> Network:
        """`_bound`, or what a method makes of it, which stays until the end of `stack` and is told the steps."""
        settings = self.settings
        for method in settings.methods:
            if isinstance(method, Guiding):
                alone, halves, combine = self._halves(noise)
                times = cache(partial(times_of_calls, self.process, settings, denoised(self.backbone)))
                guide = self._guide(noise) if self.guide else None
                parts = Guided(halves, alone, combine, times, self._levels(times), settings.cfg, guide)
                tell, network = stack.enter_context(method.guiding(parts))
                told.append(tell)
                return network
        return self._bound(noise)

    def _levels(self, times: Callable[[], tuple[float, ...]]) -> Callable[[], tuple[float, ...]]:
        return lambda: noise_levels.of_times(self.process, times())

    def _guide(self, noise: SampleNoise) -> Network:
        """(x, t) -> what the guide makes of it, told what the network is told."""
        given = cast(self.guided_by.given(noise.rows, noise.device), self.dtype)
        return lambda x, t: self.guided_by.call(self.guide, x.to(self.dtype), t, given).to(x.dtype)  # type: ignore[arg-type]

    def _halves(self, noise: SampleNoise) -> tuple[Any, Any, Any]:
        """A guided call in its parts, as methods.guiding.Guided has them."""
        given = cast(self.backbone.given(noise.rows, noise.device), self.dtype)

        @cache
        def both() -> Given:  # a guide takes the place of the half that is told no class, which not all have
            return stacked(given, cast(self.backbone.given(noise.rows, noise.device, null=True), self.dtype))

        def combine(
            x: Tensor,
            t: Tensor,
            told: Tensor,
            untold: Tensor,
            scale: float | None = None,
            channels: int | None = None,
        ) -> Tensor:
            count = self.settings.guided_channels if channels is None else channels
            return combined(told, untold, t, self._scale if scale is None else scale, count or x.shape[1])

        def halves(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            told, untold = self._called(torch.cat([x, x]), torch.cat([t, t]), both(), halves=2).chunk(2)
            return told, untold

        return lambda x, t: self._called(x, t, given), halves, combine

    @property
    def _scale(self) -> Scale:
        how = self.settings
        return within(how.cfg, **how.guided_interval) if how.guided_interval else how.cfg

    def _bound(self, noise: SampleNoise) -> Network:
        """(x, t) -> output for what these rows are given, guided where the settings say so."""
        rows, device = noise.rows, noise.device
        given = cast(self.backbone.given(rows, device), self.dtype)
        if not self.settings.guided or self.guide is not None:
            return lambda x, t: self._called(x, t, given)
        both = stacked(given, cast(self.backbone.given(rows, device, null=True), self.dtype))
        scale = self._scale

        def call(x: Tensor, t: Tensor) -> Tensor:
            cond, null = self._called(torch.cat([x, x]), torch.cat([t, t]), both, halves=2).chunk(2)
            return combined(cond, null, t, scale, self.settings.guided_channels or x.shape[1])

        return call

    def _called(self, x: Tensor, t: Tensor, given: Given, halves: int = 1) -> Tensor:
        """In the network's dtype; times stay as they are. The network holds `halves` for methods: 2 where the second
        half of the rows is the first one without a condition; and for this run the `rows_left_out` by one of them."""
        vars(self.network)["halves"] = halves
        try:
            return self.call(x.to(self.dtype), t, given).to(x.dtype)
        finally:
            del vars(self.network)["halves"]
            self._rows += len(x) - vars(self.network).pop("rows_left_out", 0)


def cast(given: Given, dtype: torch.dtype) -> dict[str, Any]:
    """`given` with its floating tensors in `dtype`."""
    return {
        name: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in given.items()
    }


def times_of_calls(process: Process, settings: Settings, state: tuple[int, ...]) -> tuple[float, ...]:
    """The times at which a run calls its network, in their order: the run is rehearsed with one that says zero."""
    if settings.sampler == ADAPTIVE:
        raise UsageError(f"{ADAPTIVE} chooses its times by what the network says; give another --sampler")
    times: list[float] = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        times.append(float(t.flatten()[0]))
        return torch.zeros_like(x)

    x = torch.zeros(1, *state, device="cpu")
    process.sample(network, x, lambda _, shape: torch.zeros(shape), settings.sampler, settings.steps)
    return tuple(times)


def check(settings: Settings, process: Process, backbone: Backbone) -> None:
    """Raise UsageError for settings that cannot work."""
    process.check(settings.sampler, settings.steps)
    if settings.cfg < 1:
        raise UsageError(f"guidance {settings.cfg:g} is below 1; give 1 for none or more")
    if settings.guided and not any(method.names_model for method in settings.methods):
        backbone.given([0], "meta", null=True)
    for method in settings.methods:
        if method.of_guidance and not settings.guided:
            raise UsageError(f"--with {method} is of guidance, and the run is unguided; give --cfg, or leave it out")


def check_finite(model: nn.Module) -> None:
    """Raise DimbenchError naming the first weight that is NaN or infinite."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise DimbenchError(f"the weights hold NaN or infinite values in {name}; give a checkpoint that does not")
