"""DiM (Teng et al., arXiv 2405.14224): one Mamba scan per block, over the padded grid in four directions by turns, with
the long skips of a U."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers.adaln import gated, modulate
from dimbench.layers.embed import PatchEmbed, sinusoid, unpatchify
from dimbench.layers.inputs import class_conditional
from dimbench.layers.mamba import Mixer, StepProjection
from dimbench.layers.named import named
from dimbench.layers.norm import RmsNorm
from dimbench.layers.scan_orders import Order, four_way
from dimbench.layers.sizes import check_sizes

PAD_RULES = ("lateral", "rho")
# Sides of a latent that the training-free models were made for -> smaller ones at which their samplers run them too.
LOW_SIZES = {128: (64,), 192: (96, 64)}
TIME_FEATURES = 256
# Wider skips are two Linears instead of one over both streams.
WIDEST_JOINT_SKIP = 512
# Of the outermost skip in the training-free models: meant to fall to 0.82 over time, held near 1 by the official code.
LAST_SKIP_WEIGHT = 1 + (0.82 - 1) * 0.001


@dataclass(frozen=True)
class Config:
    """`input_size` is the side of the latent, one of `sizes`: the authors set up their models for these alone.

    `pad_rule`: how the learned pads fill the grid's border, "lateral", "rho", or "auto": lateral up to a side of 32 and
    rho above, as the checkpoints need it. `low_sizes`: smaller sides the same network runs at, None for those of the
    training-free models; where there are any, skips are weighted. `scan_patterns` of rows, reversed rows, columns and
    reversed columns take turns. `label_dropout` is the official data loader's, in training.
    """

    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 1536
    depth: int = 49
    num_classes: int = 1000
    label_dropout: float = 0.1
    state_size: int = 16
    conv_width: int = 3
    expand: int = 2
    scan_patterns: int = 4
    pad_rule: str = "auto"
    sizes: Sequence[int] = (32, 64, 128, 192)
    low_sizes: Sequence[int] | None = None

    def __post_init__(self) -> None:
        check_sizes(self)
        if self.input_size not in self.sizes:
            raise UsageError(
                f"a latent of side {self.input_size} is none that this model was made for; give a resolution whose "
                f"latent side is {' or '.join(map(str, self.sizes))}"
            )
        if wrong := [side for side in self.sides if side < 1 or side % self.patch_size]:
            raise UsageError(
                f"a latent of side {wrong[0]} cannot be cut into patches of {self.patch_size}; give a positive "
                f"multiple of {self.patch_size}"
            )
        if self.hidden_size % 2:
            raise UsageError(f"hidden_size {self.hidden_size} is odd; give an even number, half sines and half cosines")
        if self.depth < 3 or self.depth % 2 == 0:
            raise UsageError(f"depth {self.depth} leaves no pairs of blocks for skips; give an odd number from 3 on")
        if self.scan_patterns not in (1, 2, 3, 4):
            raise UsageError(f"scan_patterns {self.scan_patterns} is unknown; give 1, 2, 3 or 4")
        if self.pad_rule not in ("auto", *PAD_RULES):
            raise UsageError(f"pad_rule {self.pad_rule!r} is unknown; known are auto, {', '.join(PAD_RULES)}")

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, h)."""
        return (self.in_channels, self.input_size, self.input_size)

    @property
    def null_label(self) -> int:
        """The label that means "no class"."""
        return self.num_classes

    @property
    def sides(self) -> tuple[int, ...]:
        """All sides of a latent that the network takes, its own first."""
        low = LOW_SIZES.get(self.input_size, ()) if self.low_sizes is None else self.low_sizes
        return (self.input_size, *low)

    @property
    def upsample_factor(self) -> int:
        """How many times as large as the images its weights were made for its images are per side."""
        return self.input_size // min(self.sides)

    @property
    def padding(self) -> str:
        """The pad rule in force."""
        if self.pad_rule != "auto":
            return self.pad_rule
        return "lateral" if self.input_size <= 32 else "rho"


def patterns(depth: int, count: int) -> list[int]:
    """Which of `count` scan patterns each block reads: forward by turns down the U, and back the same way up.

    So a long skip joins two streams of one order. Block 0 and the last one read rows.
    """
    turns = [0]
    for block in range(1, depth):
        turns.append((turns[-1] + (1 if block <= depth // 2 else -1)) % count)
    return turns


def padded_grid(side: int, pad: int, rule: str) -> Order:
    """(side + pad)^2 sources, row-major: i for patch i of the side x side grid, side^2 + k for pad k.

    The pads stand right of and below the patches. "lateral" has pad k in the k-th column or row outside, "rho" counts
    all cells outside in row-major order, modulo `pad`.
    """
    row, column = np.indices((side + pad, side + pad))
    outside = (row >= side) | (column >= side)
    kind = np.where(row >= side, row, column) - side
    sources = row * side + column
    sources[outside] = side**2 + (np.arange(outside.sum()) % pad if rule == "rho" else kind[outside])
    return sources.ravel()


class TokenGrid(nn.Module):
    """The index tables for one side of the patch grid. `front` tokens stay ahead of it in every order."""

    def __init__(self, config: Config, side: int, front: int) -> None:
        super().__init__()
        self.side, self.padded, self.front = side, side + config.conv_width, front
        orders = [self._order(turn) for turn in patterns(config.depth, config.scan_patterns)]
        moves = [np.argsort(before)[after] for before, after in pairwise([self._order(0), *orders])]
        self.cells: Tensor
        self.moves: Tensor  # block b: from the order of block b - 1 to its own
        self.register_buffer(
            "cells", torch.as_tensor(padded_grid(side, config.conv_width, config.padding)), persistent=False
        )
        self.register_buffer("moves", torch.as_tensor(np.stack(moves)), persistent=False)

    def _order(self, turn: int) -> Order:
        return np.concatenate([np.arange(self.front), self.front + four_way(self.padded, turn)])


class ConditionEmbedder(nn.Module):
    """(t (N,), y (N,)) -> shift, scale and gate of all blocks (N, 3, D)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        time = named(linear_1=nn.Linear(TIME_FEATURES, width), act=nn.SiLU(), linear_2=nn.Linear(width, width))
        label = named(embedding_table=nn.Embedding(classes, width))
        self.emb = nn.ModuleDict({"timestep_embedder": time, "class_embedder": label})
        self.linear = nn.Linear(width, 3 * width)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        features = sinusoid(t, TIME_FEATURES).to(self.linear.weight.dtype)
        embedding = self.emb["timestep_embedder"](features) + self.emb["class_embedder"](y)
        return self.linear(F.silu(embedding)).unflatten(1, (3, -1))


class GridAdapter(nn.Module):
    """Between patches and the sequence: a 3x3 depthwise convolution at each end, and the learned pads."""

    def __init__(self, width: int, pad: int) -> None:
        super().__init__()
        self.pad_token_dec_split = nn.Parameter(0.02 * torch.randn(1, pad, width))
        self.pad_token = nn.Parameter(0.02 * torch.randn(1, width, pad))
        self.first_smoother = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.last_smoother = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, tokens: Tensor, grid: TokenGrid) -> Tensor:
        """(N, 2 + side^2, D), the condition first -> (N, front + padded^2, D): condition, fixed pads, padded grid."""
        condition, patches = tokens[:, :2], tokens[:, 2:]
        patches = smoothed(self.first_smoother, patches.unflatten(1, (grid.side, grid.side)))
        batch = len(tokens)
        pads = self.pad_token.transpose(1, 2).expand(batch, -1, -1)
        cells = torch.cat([patches, pads], dim=1).index_select(1, grid.cells)
        return torch.cat([condition, self.pad_token_dec_split.expand(batch, -1, -1), cells], dim=1)

    def finish(self, sequence: Tensor, grid: TokenGrid) -> Tensor:
        """The inverse: (N, front + padded^2, D) in row order -> the patches (N, side^2, D)."""
        cells = sequence[:, grid.front :].unflatten(1, (grid.padded, grid.padded))
        return smoothed(self.last_smoother, cells[:, : grid.side, : grid.side])


def smoothed(convolution: nn.Module, patches: Tensor) -> Tensor:
    """(N, h, w, D) -> (N, h w, D) through a convolution."""
    return convolution(patches.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)


class JointSkip(nn.Linear):
    """One Linear over both streams."""

    def __init__(self, width: int) -> None:
        super().__init__(2 * width, width)

    def forward(self, *streams: Tensor) -> Tensor:
        return super().forward(torch.cat(streams, dim=-1))


class SplitSkip(nn.ModuleList):
    """The same as two Linears, each with a bias, as checkpoints of wide models hold it."""

    def __init__(self, width: int) -> None:
        super().__init__([nn.Linear(width, width), nn.Linear(width, width)])

    def forward(self, *streams: Tensor) -> Tensor:
        return self[0](streams[0]) + self[1](streams[1])


class Block(nn.Module):
    """(h (N, L, D), condition (N, 3, D)) -> h: joined with a skip, put in the block's order, one gated Mamba scan."""

    def __init__(self, config: Config, joins: bool) -> None:
        super().__init__()
        width = config.hidden_size
        self.scale_shift_table = nn.Parameter(torch.randn(3, width) / math.sqrt(width))
        self.norm1 = named(norm=RmsNorm(width))
        self.attn1 = Mixer(width, config.state_size, config.conv_width, config.expand)
        if joins:
            self.skip_linear = JointSkip(width) if width <= WIDEST_JOINT_SKIP else SplitSkip(width)

    def forward(self, h: Tensor, condition: Tensor, move: Tensor, skip: Tensor | None = None) -> Tensor:
        if skip is not None:
            h = self.skip_linear(h, skip)
        h = h.index_select(1, move)
        shift, scale, gate = (self.scale_shift_table + condition).unbind(1)
        return gated(h, 1 + gate, self.attn1(modulate(self.norm1(h), shift, scale)))


class DiM(nn.Module):
    """forward(x (N, C, h, h), t (N,) from 0 to 1000, y (N,) or None) -> noise (N, C, h, h)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, pad = config.hidden_size, config.conv_width
        grids = {side: TokenGrid(config, side // config.patch_size, front=2 + pad) for side in config.sides}
        self.grids = nn.ModuleDict({str(side): grid for side, grid in grids.items()})
        self.additional_embed = nn.Parameter(torch.zeros(1, 2 + grids[config.input_size].side ** 2, width))
        self.pos_embed = PatchEmbed(config.in_channels, width, config.patch_size)
        self.first_skip = (config.depth + 1) // 2
        blocks = (Block(config, joins=index >= self.first_skip) for index in range(config.depth))
        self.transformer_blocks = nn.ModuleList(blocks)
        self.skip_weights = skip_weights(config)
        self.norm_out = named(norm=RmsNorm(width))
        self.adaln_single = ConditionEmbedder(width, config.num_classes + 1)
        self.label_emb = nn.Embedding(config.num_classes + 1, width)
        self.a4m_adapter = GridAdapter(width, pad)
        self.proj_out_1 = nn.Linear(width, 2 * width)
        self.proj_out_2 = nn.Linear(width, config.patch_size**2 * config.in_channels)
        self._initialise()

    def _initialise(self) -> None:
        """PyTorch's defaults but for zero biases, small tables and time embedders, and outputs scaled by the depth."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) and not isinstance(module, StepProjection):
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
                if "timestep_embedder" in name:
                    nn.init.normal_(module.weight, std=0.02)
                if name.endswith("attn1.out_proj"):
                    with torch.no_grad():
                        module.weight /= math.sqrt(self.config.depth)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        grid = self._grid(x)
        y = self._labels(y, t)
        time = sinusoid(t, self.config.hidden_size).to(self.label_emb.weight.dtype)
        label = self.label_emb(y)
        tokens = torch.cat([time[:, None], label[:, None], self.pos_embed(x)], dim=1)
        h = self.a4m_adapter(tokens + resized(self.additional_embed, grid.side), grid)
        h = self._through_blocks(h, self.adaln_single(t, y), grid)
        patches = self.norm_out(self.a4m_adapter.finish(h, grid))
        shift, scale = self.proj_out_1(F.silu(time + label)).chunk(2, dim=-1)
        return unpatchify(self.proj_out_2(modulate(patches, shift, scale)), self.config.patch_size)

    def _through_blocks(self, h: Tensor, condition: Tensor, grid: TokenGrid) -> Tensor:
        blocks, turn = self.transformer_blocks, self.first_skip
        streams: list[Tensor] = []
        for block, move in zip(blocks[:turn], grid.moves[:turn], strict=True):
            h = block(h, condition, move)
            streams.append(h)
        for block, move, weight in zip(blocks[turn:], grid.moves[turn:], self.skip_weights, strict=True):
            skip = streams.pop()  # that of block 0 stays
            h = block(h, condition, move, skip if weight == 1 else weight * skip)
        return h

    def _grid(self, x: Tensor) -> TokenGrid:
        rows, columns = x.shape[-2:]
        if rows != columns or rows not in self.config.sides:
            known = ", ".join(f"{side} x {side}" for side in self.config.sides)
            raise UsageError(f"a latent of {rows} x {columns} was given to a network for {known}; give one of these")
        grid = self.grids[str(rows)]
        assert isinstance(grid, TokenGrid)
        return grid

    def _labels(self, y: Tensor | None, t: Tensor) -> Tensor:
        """The labels for both class tables, in training some replaced by "no class"."""
        null = self.config.null_label
        if y is None:
            return torch.full(t.shape, null, device=t.device)
        if self.training and self.config.label_dropout > 0:
            return torch.where(torch.rand(y.shape, device=y.device) < self.config.label_dropout, null, y)
        return y


def skip_weights(config: Config) -> list[float]:
    """What each long skip is multiplied by, the innermost first: 1, in training-free models a little less outwards."""
    count = config.depth // 2
    last = LAST_SKIP_WEIGHT if len(config.sides) > 1 else 1.0
    return [1 + (last - 1) * index / max(1, count - 1) for index in range(count)]


def resized(table: Tensor, side: int) -> Tensor:
    """The positions (1, 2 + T, D) with the T of the patches resized to side^2, bilinearly; the first two kept."""
    stored = math.isqrt(table.shape[1] - 2)
    if stored == side:
        return table
    image = table[:, 2:].transpose(1, 2).unflatten(2, (stored, stored))
    patches = F.interpolate(image, size=(side, side), mode="bilinear", align_corners=False)
    return torch.cat([table[:, :2], patches.flatten(2).transpose(1, 2)], dim=1)


def build(config: Config) -> DiM:
    return DiM(config)


def fit_checkpoint(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """`state` with its positions resized where the network is training-free, made to run on weights of another size."""
    fitted = dict(state)
    if len(config.sides) > 1 and "additional_embed" in fitted:
        fitted["additional_embed"] = resized(fitted["additional_embed"], config.input_size // config.patch_size)
    return fitted


given = class_conditional
