"""The U-Net of ADM (Dhariwal & Nichol, arXiv 2105.05233), which latent diffusion took over with another attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers.adaln import modulate, modulation
from dimbench.layers.convolution import WideConv
from dimbench.layers.embed import sinusoid

GROUPS = 32
EPS = 1e-5


class UNetSettings(Protocol):
    """What the Config of such a network says. `attention_resolutions` are factors by which a level is smaller than the
    image, `channel_mult` the width of each level in widths of `model_channels`."""

    @property
    def in_channels(self) -> int: ...
    @property
    def out_channels(self) -> int: ...
    @property
    def model_channels(self) -> int: ...
    @property
    def channel_mult(self) -> tuple[float, ...]: ...
    @property
    def num_res_blocks(self) -> int: ...
    @property
    def attention_resolutions(self) -> tuple[int, ...]: ...
    @property
    def use_scale_shift_norm(self) -> bool: ...
    @property
    def resblock_updown(self) -> bool: ...
    @property
    def conv_resample(self) -> bool: ...
    @property
    def dropout(self) -> float: ...


Attention = Callable[[int, bool], nn.Module]
"""From a width, and whether the place lies on the way up, to a module of (x, context)."""


def check(settings: UNetSettings, side: int) -> None:
    """Raise UsageError for widths or an image that the network cannot have."""
    if not settings.channel_mult:
        raise UsageError("channel_mult is empty; give the width of at least one level")
    shrinks = 2 ** (len(settings.channel_mult) - 1)
    if side < 1 or side % shrinks:
        raise UsageError(
            f"an image of side {side} cannot be halved {len(settings.channel_mult) - 1} times; give a resolution whose "
            f"side here is a positive multiple of {shrinks}"
        )
    for factor in settings.channel_mult:
        if int(factor * settings.model_channels) < 1 or int(factor * settings.model_channels) % GROUPS:
            raise UsageError(
                f"a level of {factor:g} x {settings.model_channels} channels cannot be cut into {GROUPS} groups; give "
                f"multiples of {GROUPS}"
            )


def heads_of(width: int, channels: int) -> int:
    """How many heads of so many channels the width makes. UsageError where some are left over."""
    if width % channels:
        raise UsageError(
            f"{width} channels do not make heads of {channels}; give a num_head_channels that divides each level with "
            "attention"
        )
    return width // channels


class Norm(nn.GroupNorm):
    """Group norm in float32."""

    def __init__(self, width: int, eps: float = EPS) -> None:
        super().__init__(GROUPS, width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x.float(), GROUPS, self.weight.float(), self.bias.float(), self.eps).to(x.dtype)


def doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


class ResBlock(nn.Module):
    """(N, C, h, w) and the time (N, E) -> (N, outputs, h, w), or what `resample` makes of its sides."""

    def __init__(
        self, width: int, outputs: int, settings: UNetSettings, resample: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.scale_shift = settings.use_scale_shift_norm
        self.resample = resample
        embedding = 4 * settings.model_channels
        self.in_layers = nn.Sequential(Norm(width), nn.SiLU(), WideConv(width, outputs))
        self.emb_layers = modulation(embedding, (1 + self.scale_shift) * outputs)
        last = WideConv(outputs, outputs)
        self.out_layers = nn.Sequential(Norm(outputs), nn.SiLU(), nn.Dropout(settings.dropout), last)
        self.skip_connection = nn.Identity() if width == outputs else nn.Conv2d(width, outputs, 1)
        zero(last)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.in_layers[:2](x)
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self.in_layers[2](h)
        told = self.emb_layers(embedding)[..., None, None]
        if self.scale_shift:
            scale, shift = told.chunk(2, dim=1)
            h = self.out_layers[1:](modulate(self.out_layers[0](h), shift, scale))
        else:
            h = self.out_layers(h + told)
        return self.skip_connection(x) + h


def zero(layer: nn.Module) -> None:
    """Its weights and biases, which at first add nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class Downsample(nn.Module):
    """Half the sides, by a convolution or a mean."""

    def __init__(self, width: int, learned: bool) -> None:
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1) if learned else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Twice the sides; with `learned` a convolution after it."""

    def __init__(self, width: int, learned: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1) if learned else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(doubled(x))


class Stage(nn.ModuleList):
    """Layers one after another, each given what it takes: residual blocks the time, attention the context."""

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor | None) -> Tensor:
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, embedding)
            elif isinstance(layer, nn.Conv2d | Downsample | Upsample):
                x = layer(x)
            else:
                x = layer(x, context)
        return x


class Encoder(nn.Module):
    """The way down and the middle. `widths` are those of the outputs of `input_blocks`."""

    def __init__(self, settings: UNetSettings, in_channels: int, attention: Attention) -> None:
        super().__init__()
        base = settings.model_channels
        self.base = base
        self.time_embed = nn.Sequential(nn.Linear(base, 4 * base), nn.SiLU(), nn.Linear(4 * base, 4 * base))
        levels = [int(factor * base) for factor in settings.channel_mult]
        width, factor = levels[0], 1
        stages, self.widths = [Stage([nn.Conv2d(in_channels, width, 3, padding=1)])], [width]
        for level, outputs in enumerate(levels):
            for _ in range(settings.num_res_blocks):
                layers: list[nn.Module] = [ResBlock(width, outputs, settings)]
                if factor in settings.attention_resolutions:
                    layers.append(attention(outputs, False))
                stages.append(Stage(layers))
                width = outputs
                self.widths.append(width)
            if level < len(levels) - 1:
                down = ResBlock(width, width, settings, halved) if settings.resblock_updown else None
                stages.append(Stage([down or Downsample(width, settings.conv_resample)]))
                self.widths.append(width)
                factor *= 2
        self.input_blocks = nn.ModuleList(stages)
        before, after = (ResBlock(width, width, settings) for _ in range(2))
        self.middle_block = Stage([before, attention(width, False), after])

    def embed(self, t: Tensor) -> Tensor:
        """The times (N,) as (N, 4 base)."""
        return self.time_embed(sinusoid(t, self.base).to(self.time_embed[0].weight.dtype))

    def encode(self, x: Tensor, embedding: Tensor, context: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """What leaves the middle, and the outputs of `input_blocks`."""
        kept = []
        for stage in self.input_blocks:
            x = stage(x, embedding, context)
            kept.append(x)
        return self.middle_block(x, embedding, context), kept


class UNet(Encoder):
    """The way down, the middle and the way up, each of whose stages is also given the output that fits on the way down.

    Height and width need not be equal.
    """

    def __init__(self, settings: UNetSettings, in_channels: int, attention: Attention) -> None:
        super().__init__(settings, in_channels, attention)
        levels = [int(factor * settings.model_channels) for factor in settings.channel_mult]
        widths, width = list(self.widths), levels[-1]
        stages = []
        for level, outputs in reversed(list(enumerate(levels))):
            for place in range(settings.num_res_blocks + 1):
                layers: list[nn.Module] = [ResBlock(width + widths.pop(), outputs, settings)]
                if 2**level in settings.attention_resolutions:
                    layers.append(attention(outputs, True))
                if level and place == settings.num_res_blocks:
                    up = ResBlock(outputs, outputs, settings, doubled) if settings.resblock_updown else None
                    layers.append(up or Upsample(outputs, settings.conv_resample))
                stages.append(Stage(layers))
                width = outputs
        self.output_blocks = nn.ModuleList(stages)
        last = nn.Conv2d(width, settings.out_channels, 3, padding=1)
        self.out = nn.Sequential(Norm(width), nn.SiLU(), last)
        zero(last)

    def through(self, x: Tensor, embedding: Tensor, context: Tensor | None = None) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h, w)."""
        h, kept = self.encode(x, embedding, context)
        for stage in self.output_blocks:
            h = stage(torch.cat([h, kept.pop()], dim=1), embedding, context)
        return self.out(h)
