"""ADM (Dhariwal & Nichol, arXiv 2105.05233): the U-Net that DiT is compared with, its upsampler and its classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import unet
from dimbench.layers.attention import attend
from dimbench.layers.inputs import Given, class_conditional, random_rows
from dimbench.layers.sizes import check_sizes


@dataclass(frozen=True)
class Config:
    """`attention_resolutions` are factors by which a level is smaller than the image. Heads are `num_head_channels`
    wide, or where that is 0 `num_heads` of them, on the way up `num_heads_upsample` (0: as many).

    `use_new_attention_order`: queries, keys and values lie side by side for all heads, not for each. `low_res_factor`:
    the network is an upsampler, also told an image so many times smaller. `num_classes` 0: told no class.
    """

    input_size: int = 256
    in_channels: int = 3
    out_channels: int = 6
    model_channels: int = 256
    channel_mult: tuple[float, ...] = (1, 1, 2, 2, 4, 4)
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (8, 16, 32)
    num_heads: int = 4
    num_head_channels: int = 0
    num_heads_upsample: int = 0
    use_new_attention_order: bool = False
    use_scale_shift_norm: bool = False
    resblock_updown: bool = False
    conv_resample: bool = True
    dropout: float = 0.0
    num_classes: int = 0
    low_res_factor: int = 0

    def __post_init__(self) -> None:
        check_sizes(self, ("num_head_channels", "num_heads_upsample", "num_classes", "low_res_factor"))
        object.__setattr__(self, "channel_mult", tuple(self.channel_mult))
        object.__setattr__(self, "attention_resolutions", tuple(self.attention_resolutions))
        unet.check(self, self.input_size)
        if self.low_res_factor and self.input_size % self.low_res_factor:
            raise UsageError(
                f"an image of side {self.input_size} is not {self.low_res_factor} times another; give a multiple of "
                f"{self.low_res_factor}"
            )

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, h)."""
        return (self.in_channels, self.input_size, self.input_size)

    @property
    def null_label(self) -> None:
        """There is no label that means "no class": a classifier guides."""
        return None

    @property
    def label_dropout(self) -> float:
        return 0.0

    def heads(self, width: int, up: bool = False) -> int:
        if self.num_head_channels > 0:
            return unet.heads_of(width, self.num_head_channels)
        return self.num_heads_upsample if up and self.num_heads_upsample > 0 else self.num_heads

    def attention(self, width: int, up: bool) -> nn.Module:
        return AttentionBlock(width, self.heads(width, up), self.use_new_attention_order)


def attended(qkv: Tensor, heads: int, side_by_side: bool) -> Tensor:
    """Attention among the places of qkv (N, 3 C, T) -> (N, C, T); `side_by_side`: all queries before all keys."""
    split, axis = ((3, heads, -1), 2) if side_by_side else ((heads, 3, -1), 3)
    places = qkv.transpose(1, 2).contiguous()  # a place's numbers side by side, or torch attends in three passes
    query, key, value = (part.transpose(1, 2) for part in places.unflatten(2, split).unbind(axis))  # (N, heads, T, d)
    return attend(query, key, value).transpose(1, 2)


class AttentionBlock(nn.Module):
    """Self-attention among all places of (N, C, h, w), added to them."""

    def __init__(self, width: int, heads: int, side_by_side: bool) -> None:
        super().__init__()
        if width % heads:
            raise UsageError(f"{width} channels do not make {heads} heads; give a number of heads that divides them")
        self.heads = heads
        self.side_by_side = side_by_side
        self.norm = unet.Norm(width)
        self.qkv = nn.Conv1d(width, 3 * width, 1)
        self.proj_out = nn.Conv1d(width, width, 1)
        unet.zero(self.proj_out)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        places = x.flatten(2)
        out = self.proj_out(attended(self.qkv(self.norm(places)), self.heads, self.side_by_side))
        return (places + out).view_as(x)


class ADM(unet.UNet):
    """forward(x (N, C, h, w), t (N,), y (N,), low_res (N, C, h', w')) -> (N, out_channels, h, w).

    y where there are classes, low_res (of any size) for an upsampler.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config, config.in_channels * (2 if config.low_res_factor else 1), config.attention)
        self.config = config
        if config.num_classes:
            self.label_emb = nn.Embedding(config.num_classes, 4 * config.model_channels)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None, low_res: Tensor | None = None) -> Tensor:
        _check_told("class", self.config.num_classes, y)
        _check_told("small image", self.config.low_res_factor, low_res)
        embedding = self.embed(t)
        if y is not None:
            embedding = embedding + self.label_emb(y)
        if low_res is not None:
            x = torch.cat([x, F.interpolate(low_res, x.shape[2:], mode="bilinear")], dim=1)
        return self.through(x, embedding)


def _check_told(what: str, needed: int, given: Tensor | None) -> None:
    if needed and given is None:
        raise UsageError(f"this network was told no {what}; give one for each row")
    if given is not None and not needed:
        raise UsageError(f"this network was told a {what}, which it was not built for; leave it out")


class AttentionPool(nn.Module):
    """(N, C, side, side) -> (N, outputs): what attention from the mean of all places gathers."""

    def __init__(self, width: int, heads: int, side: int, outputs: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(width, side**2 + 1) / width**0.5)
        self.qkv_proj = nn.Conv1d(width, 3 * width, 1)
        self.c_proj = nn.Conv1d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        places = x.flatten(2)
        tokens = torch.cat([places.mean(dim=2, keepdim=True), places], dim=2) + self.positional_embedding
        return self.c_proj(attended(self.qkv_proj(tokens), self.heads, side_by_side=True))[:, :, 0]


class Classifier(unet.Encoder):
    """forward(x (N, C, h, h), t (N,)) -> logits (N, out_channels) of a noised image's class: what guides ADM."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, config.in_channels, config.attention)
        self.config = config
        width, side = self.widths[-1], config.input_size // 2 ** (len(config.channel_mult) - 1)
        pool = AttentionPool(width, config.heads(width), side, config.out_channels)
        self.out = nn.Sequential(unet.Norm(width), nn.SiLU(), pool)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h, _ = self.encode(x, self.embed(t))
        return self.out(h)


def _of_side(side: int, multipliers: tuple[float, ...], blocks: int) -> Config:
    return Config(
        input_size=side,
        out_channels=1000,
        model_channels=128,
        channel_mult=multipliers,
        num_res_blocks=blocks,
        attention_resolutions=(side // 32, side // 16, side // 8),
        num_head_channels=64,
        use_scale_shift_norm=True,
        resblock_updown=True,
    )


CLASSIFIERS = {
    64: _of_side(64, (1, 2, 3, 4), 4),
    128: _of_side(128, (1, 1, 2, 3, 4), 2),
    256: _of_side(256, (1, 1, 2, 2, 4, 4), 2),
    512: _of_side(512, (0.5, 1, 1, 2, 2, 4, 4), 2),
}
"""The published ones, by the side of their images."""


def classifier(config: Config) -> Classifier:
    """The one that guides a network of these images. UsageError where it is told no class, or there is none."""
    known = CLASSIFIERS.get(config.input_size)
    if known is None or known.out_channels != config.num_classes:
        raise UsageError(
            f"no classifier of {config.num_classes} classes is known for images of side {config.input_size}; those of "
            f"1000 classes are for {', '.join(map(str, CLASSIFIERS))}"
        )
    return Classifier(known)


def build(config: Config) -> ADM:
    return ADM(config)


def given(
    config: Config,
    rows: Sequence[int],
    device: str = "cpu",
    null: bool = False,
    labels: Callable[[int], int] | None = None,
) -> Given:
    """A class where the network knows some, and a random small image for an upsampler."""
    told = dict(class_conditional(config, rows, device, null, labels)) if config.num_classes else {}
    if config.low_res_factor:
        side = config.input_size // config.low_res_factor
        told["low_res"] = random_rows(rows, (config.in_channels, side, side), device)
    return told
