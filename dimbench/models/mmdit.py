"""MMDiT (Esser et al., Scaling Rectified Flow Transformers, arXiv 2403.03206), the network of Stable Diffusion 3: image
and text as two streams with weights of their own that attend to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers.adaln import EPS, AdaLNFinalLayer, Norm, PlainNorm, for_tokens, gated, modulate, modulation
from dimbench.layers.attention import attend, split_heads
from dimbench.layers.embed import PatchEmbed, TimestepEmbedder, dropped, sincos_2d, unpatchify
from dimbench.layers.inputs import Given, class_conditional, random_rows
from dimbench.layers.mlp import BareSwiGlu, Mlp
from dimbench.layers.norm import fine_rms_norm
from dimbench.layers.sizes import check_sizes

HEAD = 64
BASE_SIDE = 64
"""Patches per side of the 1024 pixels that positions are scaled to."""

SWIGLU_UNIT = 256
QK_NORMS: dict[str, Norm] = {"rms": fine_rms_norm, "ln": partial(nn.LayerNorm, eps=EPS)}


@dataclass(frozen=True)
class Config:
    """`depth` sets the width, 64 for each block, and the heads. `context_tokens` text tokens of width `context_dim` and
    a pooled vector of width `adm_in_channels` are what the network is told; positions are cut from the middle of a
    table of `pos_embed_max_size` patches per side. `scale_mod_only` leaves out the shifts, `rmsnorm` puts RMSNorms
    without gains before attention and feed-forward network, `register_length` learned tokens stand before the text.
    With `num_classes` the network is told a class, whose text tokens and pooled vector it learns."""

    input_size: int = 128
    patch_size: int = 2
    in_channels: int = 16
    depth: int = 24
    mlp_ratio: float = 4.0
    learn_sigma: bool = False
    adm_in_channels: int = 2048
    context_dim: int = 4096
    context_tokens: int = 154
    pos_embed_max_size: int = 192
    qkv_bias: bool = True
    qk_norm: str | None = None
    rmsnorm: bool = False
    scale_mod_only: bool = False
    swiglu: bool = False
    register_length: int = 0
    num_classes: int = 0
    label_dropout: float = 0.1

    def __post_init__(self) -> None:
        check_sizes(self, ("register_length", "num_classes"))
        if self.input_size < 1 or self.input_size % self.patch_size:
            raise UsageError(
                f"a latent of side {self.input_size} cannot be cut into patches of {self.patch_size}; give a "
                f"resolution whose latent side is a positive multiple of {self.patch_size}"
            )
        if self.input_size // self.patch_size > self.pos_embed_max_size:
            raise UsageError(
                f"a latent of side {self.input_size} has more patches per side than the {self.pos_embed_max_size} that "
                "there are positions for; give a smaller resolution"
            )
        if self.qk_norm not in (None, *QK_NORMS):
            raise UsageError(f"qk_norm {self.qk_norm!r} is unknown; known are {', '.join(QK_NORMS)}, or leave it out")

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, h)."""
        return (self.in_channels, self.input_size, self.input_size)

    @property
    def hidden_size(self) -> int:
        return HEAD * self.depth

    @property
    def null_label(self) -> int | None:
        """The label that means "no class", or None where the tables have no such row."""
        return self.num_classes if self.label_dropout > 0 else None


class BareRmsNorm(nn.Module):
    """RMSNorm without a gain."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], eps=EPS)


class StreamAttention(nn.Module):
    """What a stream brings to the attention of both, and takes from it."""

    def __init__(self, config: Config, ends: bool) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.depth
        self.qkv = nn.Linear(width, 3 * width, bias=config.qkv_bias)
        self.proj = None if ends else nn.Linear(width, width)
        self.ln_q = QK_NORMS[config.qk_norm](HEAD) if config.qk_norm else nn.Identity()
        self.ln_q.optional = ends  # type: ignore[assignment]  # what an ending stream asks for is not read
        self.ln_k = QK_NORMS[config.qk_norm](HEAD) if config.qk_norm else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (N, heads, T, 64)."""
        query, key, value = split_heads(self.qkv(x), 3, self.heads)
        return self.ln_q(query), self.ln_k(key), value


class Stream(nn.Module):
    """One of the two halves of a block. A stream that `ends` here gives its keys and values and is not read again."""

    def __init__(self, config: Config, ends: bool) -> None:
        super().__init__()
        width, norm = config.hidden_size, BareRmsNorm if config.rmsnorm else PlainNorm
        self.shifted, self.ends = not config.scale_mod_only, ends
        self.norm1 = norm(width)
        self.attn = StreamAttention(config, ends)
        if not ends:
            self.norm2 = norm(width)
            self.mlp = self._feed_forward(config)
        self.count = (1 if ends else 4) if config.scale_mod_only else (2 if ends else 6)
        self.adaLN_modulation = modulation(width, self.count * width)

    @staticmethod
    def _feed_forward(config: Config) -> nn.Module:
        hidden = int(config.hidden_size * config.mlp_ratio)
        if not config.swiglu:
            return Mlp(config.hidden_size, hidden)
        thirds = int(2 * hidden / 3)
        return BareSwiGlu(config.hidden_size, SWIGLU_UNIT * -(-thirds // SWIGLU_UNIT))

    def parts(self, c: Tensor) -> list[Tensor]:
        """[shift, scale, gate] of the attention and of the feed-forward network, or [shift, scale] where it ends."""
        parts = list(self.adaLN_modulation(c).chunk(self.count, dim=-1))
        if self.shifted:
            return parts
        none = torch.zeros_like(parts[0])
        return [none, *parts[:2], none, *parts[2:]]

    def take(self, x: Tensor, attended: Tensor, parts: list[Tensor]) -> Tensor:
        """The stream behind the block, of what its attention gave."""
        _, _, gate_a, shift_m, scale_m, gate_m = parts
        x = gated(x, gate_a, attended)
        return gated(x, gate_m, self.mlp(modulate(self.norm2(x), shift_m, scale_m)))


class JointAttention(nn.Module):
    """Attention of two streams to each other; their weights are their own. (N, S, D) and (N, T, D) with the shift and
    scale of each -> (N, S + T, D), or (N, T, D) where the first ends."""

    def forward(
        self, context: Tensor, x: Tensor, told: list[Tensor], seen: list[Tensor], streams: tuple[Stream, Stream]
    ) -> Tensor:
        pairs = zip(streams, (context, x), (told, seen), strict=True)
        heads = [stream.attn(modulate(stream.norm1(tokens), *parts)) for stream, tokens, parts in pairs]
        attended = attend(*(torch.cat(pair, dim=2) for pair in zip(*heads, strict=True)))
        parts = zip(streams, attended.split([context.shape[1], x.shape[1]], dim=1), strict=True)
        read = [stream.attn.proj(part) for stream, part in parts if stream.attn.proj is not None]
        return read[0] if len(read) == 1 else torch.cat(read, dim=1)


class JointBlock(nn.Module):
    """Two streams that attend to each other, (N, S, D) and (N, T, D)."""

    def __init__(self, config: Config, last: bool) -> None:
        super().__init__()
        self.context_block = Stream(config, ends=last)
        self.x_block = Stream(config, ends=False)
        self.joint = JointAttention()
        self.reusable_parts = ("joint", "x_block.mlp") if last else ("joint", "context_block.mlp", "x_block.mlp")
        self.modulated_part = "x_block.attn"
        self.joint_part = "joint"

    def forward(self, context: Tensor, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        streams = self.context_block, self.x_block
        told, seen = (stream.parts(c) for stream in streams)
        shifts = ([for_tokens(part) for part in parts[:2]] for parts in (told, seen))
        attended = self.joint(context, x, *shifts, streams)
        if not self.context_block.ends:
            of_context, attended = attended.split([context.shape[1], x.shape[1]], dim=1)
            context = self.context_block.take(context, of_context, told)
        return context, self.x_block.take(x, attended, seen)


class VectorEmbedder(nn.Module):
    """(N, features) -> (N, width)."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, y: Tensor) -> Tensor:
        return self.mlp(y)


class MMDiT(nn.Module):
    """forward(x (N, C, h, w), t (N,) up to 1000, y (N, pooled), context (N, S, text)) -> the velocity (N, C, h, w)."""

    pos_embed: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, side = config.hidden_size, config.pos_embed_max_size
        outputs = config.in_channels * (2 if config.learn_sigma else 1)
        self.x_embedder = PatchEmbed(config.in_channels, width, config.patch_size)
        # the official network leaves these zeros for its checkpoint to fill, which holds this table
        self.register_buffer("pos_embed", sincos_2d(width, side, BASE_SIDE / side))
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = VectorEmbedder(config.adm_in_channels, width)
        self.context_embedder = nn.Linear(config.context_dim, width)
        if config.register_length:
            self.register = nn.Parameter(torch.randn(1, config.register_length, width))
        self.joint_blocks = nn.ModuleList(JointBlock(config, i == config.depth - 1) for i in range(config.depth))
        self.final_layer = AdaLNFinalLayer(width, config.patch_size**2 * outputs)

    def forward(self, x: Tensor, t: Tensor, y: Tensor, context: Tensor) -> Tensor:
        if context.shape[-1] != self.config.context_dim or y.shape[-1] != self.config.adm_in_channels:
            raise UsageError(
                f"text tokens of width {context.shape[-1]} and a pooled vector of {y.shape[-1]} were given; this MMDiT "
                f"is told {self.config.context_dim} and {self.config.adm_in_channels}"
            )
        rows, columns = (n // self.config.patch_size for n in x.shape[2:])
        tokens = self.x_embedder(x) + self._positions(rows, columns)
        c = self.t_embedder(t) + self.y_embedder(y)
        context = self.context_embedder(context)
        if self.config.register_length:
            context = torch.cat([self.register.expand(len(x), -1, -1), context], dim=1)
        for block in self.joint_blocks:
            context, tokens = block(context, tokens, c)
        return unpatchify(self.final_layer(tokens, c), self.config.patch_size, rows)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """The middle of the table, (1, rows * columns, D)."""
        side = self.config.pos_embed_max_size
        if max(rows, columns) > side:
            raise UsageError(f"{rows} x {columns} patches were given and there are positions for {side} x {side}")
        top, left = (side - rows) // 2, (side - columns) // 2
        table = self.pos_embed.unflatten(1, (side, side))[:, top : top + rows, left : left + columns]
        return table.flatten(1, 2)


class ClassMMDiT(MMDiT):
    """forward(x (N, C, h, w), t (N,) up to 1000, y (N,) labels) -> the velocity (N, C, h, w)."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        labels = config.num_classes + (config.label_dropout > 0)
        self.class_vector = nn.Embedding(labels, config.adm_in_channels)
        self.class_tokens = nn.Embedding(labels, config.context_tokens * config.context_dim)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        if self.training and self.config.label_dropout > 0:
            y = dropped(y, self.config.num_classes, self.config.label_dropout)
        tokens = self.class_tokens(y).unflatten(1, (self.config.context_tokens, self.config.context_dim))
        return super().forward(x, t, self.class_vector(y), tokens)


def build(config: Config) -> MMDiT:
    return ClassMMDiT(config) if config.num_classes else MMDiT(config)


# The names of diffusers' SD3Transformer2DModel, which keeps queries, keys and values apart.
_DIFFUSERS = {
    "x_embedder.proj": "pos_embed.proj",
    "pos_embed": "pos_embed.pos_embed",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "context_embedder": "context_embedder",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
    "final_layer.linear": "proj_out",
}
_DIFFUSERS_STREAMS = {
    "x_block.attn.qkv": "attn.to_q attn.to_k attn.to_v",
    "x_block.attn.proj": "attn.to_out.0",
    "x_block.attn.ln_q": "attn.norm_q",
    "x_block.attn.ln_k": "attn.norm_k",
    "x_block.mlp.fc1": "ff.net.0.proj",
    "x_block.mlp.fc2": "ff.net.2",
    "x_block.adaLN_modulation.1": "norm1.linear",
    "context_block.attn.qkv": "attn.add_q_proj attn.add_k_proj attn.add_v_proj",
    "context_block.attn.proj": "attn.to_add_out",
    "context_block.attn.ln_q": "attn.norm_added_q",
    "context_block.attn.ln_k": "attn.norm_added_k",
    "context_block.mlp.fc1": "ff_context.net.0.proj",
    "context_block.mlp.fc2": "ff_context.net.2",
    "context_block.adaLN_modulation.1": "norm1_context.linear",
}


def _in_diffusers(name: str) -> list[str]:
    """What diffusers calls a tensor of ours: one name, or three for queries, keys and values."""
    module, _, leaf = (name, "", "") if name == "pos_embed" else name.rpartition(".")
    ending = f".{leaf}" if leaf else ""
    if module in _DIFFUSERS:
        return [_DIFFUSERS[module] + ending]
    _, _, inside = module.partition("joint_blocks.")
    index, _, part = inside.partition(".")
    if part not in _DIFFUSERS_STREAMS:
        raise UsageError(f"diffusers' SD3 has no {name}; only what it has can be converted")
    return [f"transformer_blocks.{index}.{each}{ending}" for each in _DIFFUSERS_STREAMS[part].split()]


def _turned(name: str, config: Config) -> bool:
    """Whether diffusers has scale before shift in this tensor."""
    ends = ("final_layer", f"joint_blocks.{config.depth - 1}.context_block")
    return name.startswith(tuple(f"{end}.adaLN_modulation" for end in ends))


def _swapped(tensor: Tensor) -> Tensor:
    return torch.cat(tensor.chunk(2)[::-1])


def to_diffusers(state: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The weights as diffusers' SD3Transformer2DModel names them. UsageError for options that it does not have."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        names = _in_diffusers(name)
        tensor = _swapped(tensor) if _turned(name, config) else tensor
        found.update(zip(names, tensor.chunk(len(names)), strict=True))
    return found


def from_diffusers(state: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The inverse of `to_diffusers`; what `state` lacks is left out."""
    with torch.device("meta"):
        ours = MMDiT(config).state_dict()
    found = {}
    for name in ours:
        names = _in_diffusers(name)
        if all(each in state for each in names):
            tensor = torch.cat([state[each] for each in names])
            found[name] = _swapped(tensor) if _turned(name, config) else tensor
    return found


def translated(content: Mapping[str, Any], config: Config) -> Mapping[str, Any]:
    """What a checkpoint holds, under our names where it is in those of diffusers."""
    theirs = any(str(name).startswith("transformer_blocks.") for name in content)
    return from_diffusers(dict(content), config) if theirs else content


def given(
    config: Config,
    rows: Sequence[int],
    device: str = "cpu",
    null: bool = False,
    labels: Callable[[int], int] | None = None,
) -> Given:
    """A class, or random text tokens and a random pooled vector."""
    if config.num_classes:
        return class_conditional(config, rows, device, null, labels)
    return {
        "y": random_rows(rows, (config.adm_in_channels,), device, null),
        "context": random_rows(rows, (config.context_tokens, config.context_dim), device, null),
    }
