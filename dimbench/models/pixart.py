"""PixArt-alpha (Chen et al., arXiv 2310.00426): DiT told a text by cross attention, one modulation for all blocks.

The text encoder is no part of it: the network is given token embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import initial
from dimbench.layers.adaln import gated, modulate, plain_norm
from dimbench.layers.attention import SelfAttention, attend, split_heads
from dimbench.layers.embed import PatchEmbed, TimestepEmbedder, sinusoid, unpatchify
from dimbench.layers.inputs import Given, random_rows
from dimbench.layers.mlp import Mlp
from dimbench.layers.named import named
from dimbench.layers.sizes import check_sizes


@dataclass(frozen=True)
class Config:
    """`lewei_scale` is how many times finer than at 256 and 512 pixels the positions lie. With `multi_scale` the
    network is also told the image's size and aspect and takes any size that the patch divides: `input_size` may be
    (height, width) too, and the positions of each axis are stretched to `base_side` patches (0: those of a square
    input_size)."""

    input_size: int | tuple[int, int] = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    caption_channels: int = 4096
    model_max_length: int = 120
    text_dropout: float = 0.1
    learn_sigma: bool = True
    lewei_scale: float = 1.0
    multi_scale: bool = False
    base_side: int = 0

    def __post_init__(self) -> None:
        check_sizes(self, ("base_side",))
        if isinstance(self.input_size, list):
            object.__setattr__(self, "input_size", tuple(self.input_size))
        height, width = self.sides
        if any(side < 1 or side % self.patch_size for side in self.sides):
            raise UsageError(
                f"a latent of {height} x {width} cannot be cut into patches of {self.patch_size}; give a resolution "
                f"whose latent sides are positive multiples of {self.patch_size}"
            )
        if self.base_side and not self.multi_scale:
            raise UsageError(f"base_side {self.base_side} is for multi_scale; leave it out")
        if height != width and not self.base_side:
            raise UsageError(
                f"a latent of {height} x {width} is no square; give a square resolution, or a multi-scale network with "
                "a base_side"
            )
        if self.lewei_scale <= 0:
            raise UsageError(f"lewei_scale {self.lewei_scale:g} spaces no positions; give a number above 0")
        thirds = 3 if self.multi_scale else 1
        if self.hidden_size % 4 or self.hidden_size % self.num_heads or self.hidden_size % thirds:
            raise UsageError(
                f"hidden_size {self.hidden_size} does not fit {self.num_heads} heads; give a multiple of 4, of "
                "num_heads and, with multi_scale, of 3"
            )

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, w)."""
        return (self.in_channels, *self.sides)

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the latent."""
        return (self.input_size, self.input_size) if isinstance(self.input_size, int) else self.input_size

    @property
    def out_channels(self) -> int:
        return self.in_channels * (2 if self.learn_sigma else 1)

    @property
    def patches(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        height, width = self.sides
        return height // self.patch_size, width // self.patch_size


@cache
def positions(width: int, rows: int, columns: int, base: int, scale: float) -> NDArray[np.float32]:
    """The table (1, rows columns, width): sine and cosine of the column, then of the row. Each axis is stretched to
    `base` places and these divided by `scale`."""
    quarter = width // 4
    frequencies = 10000.0 ** -(np.arange(quarter, dtype=np.float64) / quarter)

    def code(count: int) -> NDArray[np.float64]:
        places = np.arange(count, dtype=np.float32) / np.float32(count / base)
        angles = (places.astype(np.float64) / scale)[:, None] * frequencies
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    table = np.concatenate([np.tile(code(columns), (rows, 1)), np.repeat(code(rows), columns, axis=0)], axis=1)
    return table.astype(np.float32)[None]


class TextAttention(nn.Module):
    """Multi-head attention of tokens (N, T, D) to text (N, S, D), of which `mask` (N, S) is true where it is read."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_linear = nn.Linear(width, width)
        self.kv_linear = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, text: Tensor, mask: Tensor | None) -> Tensor:
        (query,) = split_heads(self.q_linear(x), 1, self.heads)
        key, value = split_heads(self.kv_linear(text), 2, self.heads)
        read = None if mask is None else mask[:, None, None]
        return self.proj(attend(query, key, value, mask=read))


class Block(nn.Module):
    """The DiT block around an attention to the text that is neither normed nor gated."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.scale_shift_table = nn.Parameter(torch.randn(6, width) / width**0.5)
        self.attn = SelfAttention(width, heads)
        self.cross_attn = TextAttention(width, heads)
        self.mlp = Mlp(width, hidden)

    def forward(self, x: Tensor, text: Tensor, mask: Tensor | None, modulation: Tensor) -> Tensor:
        """modulation (N, 6, D) is that of all blocks, to which this one adds its table."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (self.scale_shift_table + modulation).unbind(1)
        x = gated(x, gate_a, self.attn(modulate(plain_norm(x), shift_a, scale_a)))
        x = x + self.cross_attn(x, text, mask)
        return gated(x, gate_m, self.mlp(modulate(plain_norm(x), shift_m, scale_m)))


class FinalLayer(nn.Module):
    """Norm, modulate by the time itself and a table, Linear."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, outputs)
        self.scale_shift_table = nn.Parameter(torch.randn(2, width) / width**0.5)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        shift, scale = (self.scale_shift_table + t[:, None]).unbind(1)
        return self.linear(modulate(plain_norm(x), shift, scale))


class CaptionEmbedder(nn.Module):
    """Text (N, 1, S, C) -> (N, 1, S, D). `y_embedding` is the prompt of the rows that are told nothing."""

    y_embedding: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.dropout = config.text_dropout
        null = torch.randn(config.model_max_length, config.caption_channels) / config.caption_channels**0.5
        self.register_buffer("y_embedding", null)
        width = config.hidden_size
        self.y_proj = named(
            fc1=nn.Linear(config.caption_channels, width),
            act=nn.GELU(approximate="tanh"),
            fc2=nn.Linear(width, width),
        )

    def forward(self, y: Tensor, untold: Tensor | None = None) -> Tensor:
        """`untold` (N,) is true for the rows whose text is replaced; in training some more are, by chance."""
        if self.training and self.dropout > 0:
            dropped = torch.rand(len(y), device=y.device) < self.dropout
            untold = dropped if untold is None else untold | dropped
        if untold is not None:
            y = torch.where(untold[:, None, None, None], self.y_embedding.to(y.dtype), y)
        return self.y_proj(y)


class SizeEmbedder(nn.Module):
    """Numbers (N, k) -> (N, k width): each through the same sinusoid and network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = TimestepEmbedder(width).mlp

    def forward(self, sizes: Tensor) -> Tensor:
        features = sinusoid(sizes.flatten(), TimestepEmbedder.features).to(self.mlp[0].weight.dtype)
        return self.mlp(features).view(len(sizes), -1)


class PixArt(nn.Module):
    """forward(x (N, C, h, w), t (N,), y (N, 1, S, caption_channels)) -> (N, out_channels, h, w).

    mask: (N, S) or (1, S), true where the text is read (None: everywhere); of fewer rows than y it is repeated.
    untold: (N,), true where the null prompt takes the place of the row's text. img_hw (N or 1, 2) in pixels and
    aspect_ratio (N or 1, 1) as height / width: with `multi_scale` alone.
    """

    pos_embed: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.x_embedder = PatchEmbed(config.in_channels, width, config.patch_size)
        self.t_embedder = TimestepEmbedder(width)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.y_embedder = CaptionEmbedder(config)
        self.register_buffer("pos_embed", _positions_of(config, *config.patches))
        if config.multi_scale:
            self.csize_embedder = SizeEmbedder(width // 3)
            self.ar_embedder = SizeEmbedder(width // 3)
        self.blocks = nn.ModuleList(
            Block(width, config.num_heads, int(width * config.mlp_ratio)) for _ in range(config.depth)
        )
        self.final_layer = FinalLayer(width, config.patch_size**2 * config.out_channels)
        self._initialise()

    def _initialise(self) -> None:
        """Xavier; small in what embeds time, size and text; attention to the text and the output start at zero."""
        initial.xavier(self)
        initial.flat_xavier(self.x_embedder.proj)
        initial.small(self.t_block[1], self.y_embedder.y_proj.fc1, self.y_embedder.y_proj.fc2)
        scalars = [self.t_embedder] + ([self.csize_embedder, self.ar_embedder] if self.config.multi_scale else [])
        initial.small(*(embedder.mlp[place] for embedder in scalars for place in (0, 2)))
        initial.zero(self.final_layer.linear, *(block.cross_attn.proj for block in self.blocks))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        y: Tensor,
        mask: Tensor | None = None,
        untold: Tensor | None = None,
        img_hw: Tensor | None = None,
        aspect_ratio: Tensor | None = None,
    ) -> Tensor:
        config = self.config
        rows, columns = (side // config.patch_size for side in x.shape[-2:])
        tokens = self.x_embedder(x) + self._table(rows, columns).to(x)
        time = self.t_embedder(t)
        if config.multi_scale:
            if img_hw is None or aspect_ratio is None:
                raise UsageError("a multi-scale network was not told the image's size; give img_hw and aspect_ratio")
            time = time + torch.cat([self.csize_embedder(img_hw), self.ar_embedder(aspect_ratio)], dim=1)
        text = self.y_embedder(y, untold)[:, 0]
        read = None if mask is None else _rows_of_text(mask, text)
        modulation = self.t_block(time).unflatten(1, (6, -1))
        for block in self.blocks:
            tokens = block(tokens, text, read, modulation)
        return unpatchify(self.final_layer(tokens, time), config.patch_size, rows)

    def _table(self, rows: int, columns: int) -> Tensor:
        made_for = self.config.patches
        if (rows, columns) == made_for:
            return self.pos_embed
        if not self.config.multi_scale:
            raise UsageError(
                f"{rows} x {columns} patches do not fit a network made for {made_for[0]} x {made_for[1]}; give the "
                "resolution when it is built, or take the multi-scale network"
            )
        return _positions_of(self.config, rows, columns)


def _positions_of(config: Config, rows: int, columns: int) -> Tensor:
    base = config.base_side or config.patches[0]
    return torch.as_tensor(positions(config.hidden_size, rows, columns, base, config.lewei_scale))


def _rows_of_text(mask: Tensor, text: Tensor) -> Tensor:
    """The mask as booleans, one row per row of text."""
    if mask.ndim != 2 or mask.shape[1] != text.shape[1] or len(text) % len(mask):
        raise UsageError(
            f"a text mask of shape {tuple(mask.shape)} does not fit {len(text)} texts of {text.shape[1]} tokens; give "
            f"one of {text.shape[1]} columns with a row per text"
        )
    return mask.bool().repeat(len(text) // len(mask), 1)


def build(config: Config) -> PixArt:
    return PixArt(config)


def fit_checkpoint(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The published weights with the position table of this size, which the authors too compute and do not load."""
    return {**state, "pos_embed": _positions_of(config, *config.patches)}


def given(config: Config, rows: Sequence[int], device: str = "cpu", null: bool = False) -> Given:
    """Random text tokens that are all read, with `null` the null prompt in their place; for a multi-scale network the
    size in pixels of the image that a latent at stride 8 stands for."""
    told: dict[str, Tensor] = {
        "y": random_rows(rows, (1, config.model_max_length, config.caption_channels), device),
        "untold": torch.full((len(rows),), null, device=device),
    }
    if config.multi_scale:
        size = 8.0 * torch.tensor([config.sides], device=device)
        told["img_hw"] = size.expand(len(rows), -1)
        told["aspect_ratio"] = (size[:, :1] / size[:, 1:]).expand(len(rows), -1)
    return told
