"""The latents that a network of diffusers works on: their grid, and the decoder that ends a picture or clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from dimbench import names
from dimbench.diffusers_networks.kind import Size
from dimbench.diffusers_networks.loading import build
from dimbench.image_size import Resolution, sides
from dimbench.preset_files import folder, load
from dimbench.presets import Preset

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class LatentSpace:
    """An autoencoder as presets/shared/autoencoders.toml describes it: `stride` pixels per side of a latent,
    `temporal_stride` frames per latent frame after the first, `normalised` what a network's latents are to its own,
    `page` the web page that offers it ("": unknown)."""

    name: str
    class_name: str
    stride: int
    channels: int
    source: str
    temporal_stride: int = 1
    normalised: str = ""
    page: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)

    def size(
        self, resolution: tuple[int, int], *, frames: int = 1, text_tokens: int = 0, guidance: float = 1.0
    ) -> Size:
        """What is drawn through these latents."""
        return Size(resolution, frames, text_tokens, self.stride, self.temporal_stride, guidance)

    def build(self) -> nn.Module:
        """The autoencoder in eval mode, on torch's default device."""
        return build(self.class_name, self.config)

    def decode(self, model: Any, x: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) of latents (B, C, h, w), or (B, 3, T, H, W) of (B, C, t, h, w); each frame by itself
        where the autoencoder knows pictures only. The latents are not scaled: a cost does not depend on it."""
        if self.temporal_stride > 1 and x.ndim == 4:
            return self.decode(model, x.unsqueeze(2)).squeeze(2)
        if self.temporal_stride == 1 and x.ndim == 5:
            return frame_by_frame(lambda frames: model.decode(frames, return_dict=False)[0], x)
        return model.decode(x, return_dict=False)[0]


def frame_by_frame(decode: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    """(B, C, t, h, w) -> (B, 3, t, H, W), of which `decode` takes each frame as a picture."""
    frames = decode(clips.transpose(1, 2).flatten(0, 1))
    return frames.unflatten(0, (len(clips), -1)).transpose(1, 2)


def latent_space(name: str) -> LatentSpace:
    """The autoencoder that a preset's conditions call `name`; UsageError names what is near."""
    return names.find(name, latent_spaces(), "autoencoder")


@cache
def latent_spaces() -> dict[str, LatentSpace]:
    """All of presets/shared/autoencoders.toml, by name."""
    listed = load(folder() / "shared" / "autoencoders.toml")

    def whole(name: str) -> dict[str, Any]:
        entry = dict(listed[name])
        return {**whole(entry.pop("like")), **entry} if "like" in entry else entry

    return {name: LatentSpace(name, **whole(name)) for name in listed}


def size_of(preset: Preset, resolution: Resolution | None = None, frames: int | None = None) -> Size:
    """What the preset draws, at its own resolution and length where none is given. One side is the height of what is
    not square; the width goes with it."""
    conditions, space = preset.conditions, latent_space(preset.conditions["autoencoder"])
    return space.size(
        _picture(preset, resolution or preset.resolution, space.stride),
        frames=conditions.get("frames", 1) if frames is None else frames,
        text_tokens=conditions.get("text_tokens", 0),
        guidance=preset.sampling.get("embedded_guidance", 1.0),
    )


def _picture(preset: Preset, resolution: Resolution, stride: int) -> tuple[int, int]:
    """Height and width in pixels."""
    own = preset.resolution, preset.conditions.get("width", preset.resolution)
    if isinstance(resolution, str):
        return sides(resolution)
    if own[0] == own[1]:
        return resolution, resolution
    step = 2 * stride  # two latents, as most networks take together
    return own if resolution == own[0] else (resolution, round(resolution * own[1] / own[0] / step) * step)
