"""LDM (Rombach et al., arXiv 2112.10752): ADM's U-Net on latents, with transformers that see a context for attention.

The autoencoder, whose codebook the latents are snapped to before decoding, is no part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import unet
from dimbench.layers.attention import attend, split_heads
from dimbench.layers.inputs import Given, class_conditional, random_rows
from dimbench.layers.named import named
from dimbench.layers.sizes import check_sizes

NETWORK = "model.diffusion_model."
CLASSES = "cond_stage_model."
PROJECTION_EPS = 1e-6


@dataclass(frozen=True)
class Config:
    """`attention_resolutions` are factors by which a level is smaller than the latent. Heads are `num_head_channels`
    wide, or where that is 0 `num_heads` of them. The context is the embedding of a class; with `num_classes` 0 the
    network is given the context itself, or none."""

    input_size: int = 64
    in_channels: int = 3
    out_channels: int = 3
    model_channels: int = 192
    channel_mult: tuple[float, ...] = (1, 2, 3, 5)
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (8, 4, 2)
    num_heads: int = 1
    num_head_channels: int = 0
    transformer_depth: int = 1
    context_dim: int = 512
    use_scale_shift_norm: bool = False
    resblock_updown: bool = False
    conv_resample: bool = True
    dropout: float = 0.0
    num_classes: int = 0
    label_dropout: float = 0.1

    def __post_init__(self) -> None:
        check_sizes(self, ("num_head_channels", "num_classes"))
        object.__setattr__(self, "channel_mult", tuple(self.channel_mult))
        object.__setattr__(self, "attention_resolutions", tuple(self.attention_resolutions))
        unet.check(self, self.input_size)
        if self.channel_mult[0] != 1:
            raise UsageError(
                f"channel_mult starts with {self.channel_mult[0]:g}, but the last convolution is as wide as "
                "model_channels; give 1 first"
            )

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, h)."""
        return (self.in_channels, self.input_size, self.input_size)

    @property
    def null_label(self) -> int | None:
        """The label that means "no class"."""
        return self.num_classes if self.num_classes and self.label_dropout > 0 else None

    def heads(self, width: int) -> int:
        if self.num_head_channels > 0:
            return unet.heads_of(width, self.num_head_channels)
        return self.num_heads

    def attention(self, width: int, up: bool) -> nn.Module:
        return SpatialTransformer(width, self.heads(width), self.transformer_depth, self.context_dim)


class ContextAttention(nn.Module):
    """Multi-head attention of tokens (N, T, D) to a context (N, S, C)."""

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        (query,) = split_heads(self.to_q(x), 1, self.heads)
        (key,) = split_heads(self.to_k(context), 1, self.heads)
        (value,) = split_heads(self.to_v(context), 1, self.heads)
        return self.to_out(attend(query, key, value))


class GeGlu(nn.Module):
    """Linear to two halves, the first times the exact GELU of the second."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class TransformerBlock(nn.Module):
    """Self-attention, attention to the context (without one, to itself again), feed-forward network."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.attn1 = ContextAttention(width, width, heads)
        self.attn2 = ContextAttention(width, context, heads)
        feed_forward = (GeGlu(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width))
        self.ff = named(net=nn.Sequential(*feed_forward))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        normed = self.norm1(x)
        x = x + self.attn1(normed, normed)
        normed = self.norm2(x)
        x = x + self.attn2(normed, normed if context is None else context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks over all places of (N, C, h, w), added to them."""

    def __init__(self, width: int, heads: int, depth: int, context: int) -> None:
        super().__init__()
        if width % heads:
            raise UsageError(f"{width} channels do not make {heads} heads; give a number of heads that divides them")
        self.norm = unet.Norm(width, PROJECTION_EPS)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList(TransformerBlock(width, heads, context) for _ in range(depth))
        self.proj_out = nn.Conv2d(width, width, 1)
        unet.zero(self.proj_out)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        projected = self.proj_in(self.norm(x))
        tokens = projected.flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return x + self.proj_out(tokens.transpose(1, 2).view_as(projected))


class ClassContext(nn.Module):
    """(N,) labels -> contexts (N, 1, C) of one token; in training some become "no class"."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.null, self.dropout = config.null_label, config.label_dropout
        self.embedding = nn.Embedding(config.num_classes + (self.null is not None), config.context_dim)

    def forward(self, y: Tensor) -> Tensor:
        if self.training and self.null is not None:
            y = torch.where(torch.rand(y.shape, device=y.device) < self.dropout, self.null, y)
        return self.embedding(y)[:, None]


class LDM(unet.UNet):
    """forward(x (N, C, h, w), t (N,), y) -> (N, out_channels, h, w); y: labels (N,), or without classes the context
    (N, S, context_dim), or None."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, config.in_channels, config.attention)
        self.config = config
        if config.num_classes:
            self.cond_stage_model = ClassContext(config)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        if self.config.num_classes:
            y = self.cond_stage_model(y)
        return self.through(x, self.embed(t), y)


def build(config: Config) -> LDM:
    return LDM(config)


def translated(content: Mapping[str, Any], config: Config) -> Mapping[str, Any]:
    """Of a published file the network and its table of classes; the autoencoder in it is left out."""
    state = content.get("state_dict", content)
    kept = {name: tensor for name, tensor in state.items() if name.startswith((NETWORK, CLASSES))}
    if not any(name.startswith(NETWORK) for name in kept):
        return content
    return {name.removeprefix(NETWORK): tensor for name, tensor in kept.items()}


def given(
    config: Config,
    rows: Sequence[int],
    device: str = "cpu",
    null: bool = False,
    labels: Callable[[int], int] | None = None,
) -> Given:
    """A class where the network knows some, else a random context of one token."""
    if config.num_classes:
        return class_conditional(config, rows, device, null, labels)
    return {"y": random_rows(rows, (1, config.context_dim), device, null)}
