"""How one class of diffusers is called, whatever its arguments are named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dimbench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

Config = Mapping[str, Any]
Given = Mapping[str, Any]

_NULL_SEED = 2**32  # no row's


@dataclass(frozen=True)
class Size:
    """What is drawn: `resolution` (height, width) in pixels; `stride` pixels of a picture per side of a latent, and
    `temporal_stride` frames per latent frame after the first; `guidance` is told to networks that take it as input."""

    resolution: tuple[int, int]
    frames: int = 1
    text_tokens: int = 0
    stride: int = 8
    temporal_stride: int = 1
    guidance: float = 1.0

    @property
    def latent(self) -> tuple[int, int]:
        """Height and width of the latents."""
        height, width = self.resolution
        if height < 1 or width < 1 or height % self.stride or width % self.stride:
            raise UsageError(
                f"resolution {height} x {width} does not fit latents of one side per {self.stride} pixels; give "
                f"positive multiples of {self.stride}"
            )
        return height // self.stride, width // self.stride

    @property
    def latent_frames(self) -> int:
        """Latent frames: the first picture has one of its own."""
        if self.frames < 1 or (self.frames - 1) % self.temporal_stride:
            raise UsageError(
                f"{self.frames} frames do not fit latents of one frame per {self.temporal_stride} after the first; "
                f"give 1 more than a multiple of {self.temporal_stride}"
            )
        return (self.frames - 1) // self.temporal_stride + 1


@dataclass(frozen=True)
class Same:
    """A value that every row is told."""

    value: float | Sequence[float]


@dataclass(frozen=True)
class Label:
    """One of `classes` class labels by the row; `null` stands for no class (None: there is no such label)."""

    classes: int
    null: int | None = None


Told = Mapping[str, tuple[int, ...] | Same | Label]
"""What one row is told, by name; a shape stands for standard normal values, as embeddings of a text."""


def latents(config: Config, size: Size) -> tuple[int, ...]:
    """(C, h, w) of a picture."""
    return (channels(config), *cut(size, _patch(config)))


def clips(config: Config, size: Size) -> tuple[int, ...]:
    """(C, T, h, w) of a clip."""
    return (channels(config), size.latent_frames, *cut(size, _patch(config)))


def cut(size: Size, patch: int) -> tuple[int, int]:
    """Height and width of the latents. UsageError where patches of this side leave a rest of them."""
    height, width = size.latent
    if height % patch or width % patch:
        raise UsageError(
            f"a latent of {height} x {width} cannot be cut into patches of {patch}; give sides that are multiples of "
            f"{patch * size.stride} pixels"
        )
    return height, width


def _patch(config: Config) -> int:
    """Latents per side of what the network takes together."""
    patch = config.get("patch_size") or config.get("all_patch_size") or 1
    return patch if isinstance(patch, int) else patch[-1]


def channels(config: Config) -> int:
    """Channels of the latents. UsageError where the network also takes others, a mask or a first frame."""
    taken, returned = config["in_channels"], config.get("out_channels") or config["in_channels"]
    if returned < taken:
        raise UsageError(
            f"a network of {taken} input and {returned} output channels takes more than noisy latents, which is not "
            "known here; give its inputs with --input"
        )
    return taken


@dataclass(frozen=True)
class Kind:
    """Times are those of the process that a network was trained on: timesteps 0 to 999 of a Gaussian diffusion, or the
    share of the data, 0 (noise) to 1, of a linear flow, whose output is the velocity towards the data, as SiT's."""

    told: Callable[[Config, Size], Told]
    forward: Callable[[Any, Tensor, Tensor, Given], Tensor]
    state: Callable[[Config, Size], tuple[int, ...]] = latents  # of one sample: (C, H, W) or (C, T, H, W)

    def call(self, model: nn.Module, x: Tensor, t: Tensor, given: Given) -> Tensor:
        """The network's output in the shape of x, without the variance that some append."""
        told = {name: value.to(x.dtype) if value.is_floating_point() else value for name, value in given.items()}
        return self.forward(model, x, t, told)

    def given(self, config: Config, size: Size, rows: Sequence[int], device: str = "cpu", null: bool = False) -> Given:
        """What the network is told besides x and t, drawn for each row from its number; with `null`, what stands for no
        text or class, the same for all rows. UsageError where nothing does."""
        import torch

        told = self.told(config, size)
        if null and any(isinstance(what, Label) and what.null is None for what in told.values()):
            raise UsageError("the network has no label for 'no class' and cannot be guided; leave out --cfg")
        if device == "meta":
            drawn: dict[str, list[Tensor]] = {
                name: [torch.empty(what, device="meta")] * len(rows)
                for name, what in told.items()
                if isinstance(what, tuple)
            }
        else:
            drawn = _drawn({name: what for name, what in told.items() if isinstance(what, tuple)}, rows, null)
        for name, what in told.items():
            if isinstance(what, Label):
                labels = [what.null if null else row % what.classes for row in rows]
                drawn[name] = [torch.tensor(label, device="cpu") for label in labels]
            elif isinstance(what, Same):
                drawn[name] = [torch.tensor(what.value, device="cpu")] * len(rows)
        return {name: torch.stack(values).to(device) for name, values in drawn.items()}


def _drawn(shapes: Mapping[str, tuple[int, ...]], rows: Sequence[int], null: bool) -> dict[str, list[Tensor]]:
    import torch

    found: dict[str, list[Tensor]] = {name: [] for name in shapes}
    for row in rows:
        generator = torch.Generator().manual_seed(_NULL_SEED if null else row)
        for name, shape in shapes.items():
            found[name].append(torch.randn(shape, generator=generator, device="cpu"))
    return found
