"""Images from a network: image k depends on the seed and on k alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dimbench.diffusion.convention import Counted
from dimbench.diffusion.guidance import LabelledNetwork, guided, within
from dimbench.diffusion.process import Process
from dimbench.errors import DimbenchError, UsageError

OnStep = Callable[[int], None]


@dataclass(frozen=True)
class Settings:
    """What decides an image besides the network: `guided_channels` 0 guides all channels, `cfg` 1 switches guidance
    off, `null_label` is the label that means "no class"; `guided_interval` are the arguments of guidance.within, None
    where guidance acts at all times."""

    sampler: str
    steps: int
    cfg: float = 1.0
    seed: int = 0
    guided_channels: int = 0
    null_label: int | None = None
    guided_interval: Mapping[str, Any] | None = None


def check(settings: Settings, process: Process, labels: Sequence[int], classes: int) -> None:
    """Raise UsageError for settings that cannot work."""
    process.check(settings.sampler, settings.steps)
    highest = classes - 1 if settings.null_label is None else settings.null_label
    if wrong := [label for label in labels if not 0 <= label <= highest]:
        raise UsageError(f"label {wrong[0]} is out of range; give labels from 0 to {highest}")
    if settings.cfg < 1:
        raise UsageError(f"guidance {settings.cfg:g} is below 1; give 1 for none or more")
    if settings.cfg != 1 and settings.null_label is None:
        raise UsageError("this model has no label for 'no class' and cannot be guided; leave out --cfg")


def check_finite(model: nn.Module) -> None:
    """Raise DimbenchError naming the first weight that is NaN or infinite."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise DimbenchError(f"the weights hold NaN or infinite values in {name}; give a checkpoint that does not")


def draw(
    model: LabelledNetwork,
    process: Process,
    rows: Sequence[int],
    labels: Sequence[int],
    settings: Settings,
    *,
    shape: tuple[int, int, int],
    device: str = "cpu",
    on_step: OnStep | None = None,
) -> tuple[Tensor, int]:
    """Draw the images `rows` with their labels: (n, *shape) in the network's own space on the CPU, and network calls.

    Noise and labels are each image's own; the last bits of a matrix product also depend on how many are drawn at once.
    `on_step(k)` follows the steps.
    """
    y = torch.tensor(labels, device=device)
    noise = ImageNoise(settings.seed, rows, device)
    network = Counted(_bound(model, y, settings))
    with torch.inference_mode():
        x = process.sample(
            network,
            noise(-1, (len(rows), *shape)),
            noise,
            settings.sampler,
            settings.steps,
            on_step=(lambda k, _: on_step(k)) if on_step else None,
        )
    return x.cpu(), network.calls


def _bound(model: LabelledNetwork, y: Tensor, settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """(x, t) -> output for these labels, guided where the settings say so."""
    if settings.cfg == 1:
        return lambda x, t: model(x, t, y)
    both = torch.cat([y, torch.full_like(y, settings.null_label or 0)])
    scale = within(settings.cfg, **settings.guided_interval) if settings.guided_interval else settings.cfg
    pair = guided(model, scale, settings.guided_channels or None)
    return lambda x, t: pair(torch.cat([x, x]), torch.cat([t, t]), both)[: len(x)]


class ImageNoise:
    """noise(k, shape): one generator per image, seeded by the run's seed and the image's index. Drawn on the CPU, so
    that every device sees the same."""

    def __init__(self, seed: int, rows: Sequence[int], device: str = "cpu") -> None:
        self.device = device
        self.generators = [torch.Generator().manual_seed(mixed(seed, row)) for row in rows]

    def __call__(self, k: int, shape: tuple[int, ...]) -> Tensor:
        draws = [torch.randn(shape[1:], generator=generator) for generator in self.generators]
        return torch.stack(draws).to(self.device)


def mixed(seed: int, index: int) -> int:
    """A 63-bit seed that no other pair of small numbers has: splitmix64's finaliser over both."""
    state = (seed * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> shift)) * factor % 2**64
    return (state ^ (state >> 31)) >> 1
