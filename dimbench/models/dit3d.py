"""DiT-3D (Mo et al., arXiv 2307.01831): DiT on voxels.

The authors' network turns a cloud of points into voxels first and back at the end; here the voxels are the state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import initial
from dimbench.layers.adaln import AdaLNFinalLayer, AdaLNZeroBlock
from dimbench.layers.attention import SelfAttention
from dimbench.layers.embed import LabelEmbedder, TimestepEmbedder, tokens_of
from dimbench.layers.inputs import class_conditional
from dimbench.layers.mlp import Mlp
from dimbench.layers.sizes import check_sizes


@dataclass(frozen=True)
class Config:
    """`input_size` is the number of voxels along each axis."""

    input_size: int = 32
    patch_size: int = 4
    in_channels: int = 3
    hidden_size: int = 1152
    depth: int = 24
    num_heads: int = 16
    mlp_ratio: float = 4.0
    num_classes: int = 1
    label_dropout: float = 0.1
    learn_sigma: bool = False

    def __post_init__(self) -> None:
        check_sizes(self)
        if self.input_size < 1 or self.input_size % self.patch_size:
            raise UsageError(
                f"{self.input_size} voxels along an axis cannot be cut into patches of {self.patch_size}; give a "
                f"resolution that is a positive multiple of {self.patch_size}"
            )
        if self.hidden_size % 6 or self.hidden_size % self.num_heads:
            raise UsageError(
                f"hidden_size {self.hidden_size} does not fit {self.num_heads} heads; give a multiple of 6 and of "
                "num_heads"
            )

    @property
    def state(self) -> tuple[int, int, int, int]:
        """The shape of one sample, (C, D, H, W)."""
        return (self.in_channels, self.input_size, self.input_size, self.input_size)

    @property
    def null_label(self) -> int | None:
        """The label that means "no class", or None where the table has no such row."""
        return self.num_classes if self.label_dropout > 0 else None

    @property
    def out_channels(self) -> int:
        return self.in_channels * (2 if self.learn_sigma else 1)


def sincos_3d(width: int, side: int) -> Tensor:
    """The position table (1, side^3, width): sine and cosine of the first coordinate, the second, the third, which is
    the fastest."""
    sixth = width // 6
    frequencies = 10000.0 ** -(np.arange(sixth, dtype=np.float64) / sixth)
    places = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3, 1)
    angles = places * frequencies  # (side^3, 3, sixth)
    table = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).reshape(-1, width)
    return torch.as_tensor(table, dtype=torch.float32)[None]


def voxels(tokens: Tensor, patch: int, side: int) -> Tensor:
    """(N, side^3, patch^3 C) tokens, the channel fastest -> (N, C, D, H, W)."""
    cubes = tokens.unflatten(2, (patch, patch, patch, -1)).unflatten(1, (side, side, side))
    return cubes.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)


class VoxelEmbed(nn.Module):
    """Cubes of side `patch` as tokens: (N, C, D, H, W) -> (N, D H W / patch^3, width)."""

    def __init__(self, in_channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(in_channels, width, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return tokens_of(self.proj(x))


class DiT3D(nn.Module):
    """forward(x (N, C, D, H, W), t (N,), y (N,)) -> (N, out_channels, D, H, W)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, patch, hidden = config.hidden_size, config.patch_size, int(config.hidden_size * config.mlp_ratio)
        self.side = config.input_size // patch
        self.x_embedder = VoxelEmbed(config.in_channels, width, patch)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(config.num_classes, width, config.label_dropout)
        self.pos_embed = nn.Parameter(sincos_3d(width, self.side), requires_grad=False)
        self.blocks = nn.ModuleList(
            AdaLNZeroBlock(width, SelfAttention(width, config.num_heads), Mlp(width, hidden, exact=True))
            for _ in range(config.depth)
        )
        self.final_layer = AdaLNFinalLayer(width, patch**3 * config.out_channels)
        self._initialise()

    def _initialise(self) -> None:
        """DiT's: Xavier, every block the identity, zero output."""
        initial.xavier(self)
        initial.flat_xavier(self.x_embedder.proj)
        initial.small(self.y_embedder.embedding_table, self.t_embedder.mlp[0], self.t_embedder.mlp[2])
        initial.zero(self.final_layer.linear)
        initial.zero(*(layer.adaLN_modulation[1] for layer in (*self.blocks, self.final_layer)))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        tokens = self.x_embedder(x) + self.pos_embed
        c = self.t_embedder(t) + self.y_embedder(y)
        for block in self.blocks:
            tokens = block(tokens, c)
        return voxels(self.final_layer(tokens, c), self.config.patch_size, self.side)


def build(config: Config) -> DiT3D:
    return DiT3D(config)


given = class_conditional
