"""DDT (Wang et al., Decoupled Diffusion Transformer, arXiv 2504.05741): an encoder makes one condition per token of the
noisy latent, a small decoder predicts the velocity of the same latent under it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import initial
from dimbench.layers.adaln import AdaLNFinalLayer, AdaLNZeroBlock, PlainNorm, bare_modulation
from dimbench.layers.attention import SelfAttention
from dimbench.layers.embed import LabelEmbedder, TimestepEmbedder
from dimbench.layers.inputs import class_conditional
from dimbench.layers.mlp import BareSwiGlu
from dimbench.layers.norm import fine_rms_norm
from dimbench.layers.rope import columns_and_rows
from dimbench.layers.sizes import check_sizes

EXTENT = 16.0
"""The place of the last row and column: a map of any size is stretched over [0, 16]."""

TIME_PERIOD = 10.0


@dataclass(frozen=True)
class Config:
    """`input_size` is the side of the latent; `num_groups` are the attention's heads; the first `num_encoder_blocks` of
    the `num_blocks` are the encoder."""

    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 1152
    num_blocks: int = 28
    num_encoder_blocks: int = 22
    num_groups: int = 16
    num_classes: int = 1000
    label_dropout: float = 0.1

    def __post_init__(self) -> None:
        check_sizes(self)
        if self.input_size < 1 or self.input_size % self.patch_size:
            raise UsageError(
                f"a latent of side {self.input_size} cannot be cut into patches of {self.patch_size}; give a "
                f"resolution whose latent side is a positive multiple of {self.patch_size}"
            )
        if self.hidden_size % (4 * self.num_groups):
            raise UsageError(
                f"hidden_size {self.hidden_size} does not fit {self.num_groups} heads, each of a multiple of 4; give a "
                f"multiple of {4 * self.num_groups}"
            )
        if not 0 < self.num_encoder_blocks < self.num_blocks:
            raise UsageError(
                f"{self.num_encoder_blocks} of {self.num_blocks} blocks cannot be the encoder; give 1 to "
                f"{self.num_blocks - 1}"
            )

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, h)."""
        return (self.in_channels, self.input_size, self.input_size)

    @property
    def null_label(self) -> int | None:
        """The label that means "no class", or None where the table has no such row."""
        return self.num_classes if self.label_dropout > 0 else None


class Embedding(nn.Module):
    """A Linear of the patches."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(features, width)

    def forward(self, patches: Tensor) -> Tensor:
        return self.proj(patches)


def to_patches(x: Tensor, patch: int) -> Tensor:
    """(N, C, h, w) -> (N, h w / patch^2, C patch^2), channel slowest."""
    batch, channels, height, width = x.shape
    cells = x.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * patch**2)


def from_patches(tokens: Tensor, patch: int, height: int, width: int) -> Tensor:
    """The inverse of `to_patches`, for images of that size."""
    cells = tokens.reshape(len(tokens), height // patch, width // patch, -1, patch, patch)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), -1, height, width)


class DDT(nn.Module):
    """forward(x (N, C, h, w), t (N,) from noise 0 to data 1, y (N,)) -> the velocity (N, C, h, w).

    It is `decode` of what `encode` returns; a state that was made before serves as well, at a fifth of the blocks.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, features = config.hidden_size, config.in_channels * config.patch_size**2
        self.x_embedder = Embedding(features, width)
        self.s_embedder = Embedding(features, width)
        self.t_embedder = TimestepEmbedder(width, TIME_PERIOD)
        self.y_embedder = LabelEmbedder(config.num_classes, width, config.label_dropout)
        self.final_layer = AdaLNFinalLayer(width, features, PlainNorm, bare_modulation)
        self.blocks = nn.ModuleList(self._block() for _ in range(config.num_blocks))
        self._initialise()

    def _block(self) -> AdaLNZeroBlock:
        width = self.config.hidden_size
        attention = SelfAttention(width, self.config.num_groups, bias=False, norm=fine_rms_norm)
        return AdaLNZeroBlock(
            width, attention, BareSwiGlu(width, int(2 * 4 * width / 3)), fine_rms_norm, bare_modulation
        )

    def _initialise(self) -> None:
        """The blocks keep torch's own start."""
        for embedding in (self.x_embedder, self.s_embedder):
            initial.xavier(embedding)
        initial.small(self.y_embedder.embedding_table, self.t_embedder.mlp[0], self.t_embedder.mlp[2])
        initial.zero(self.final_layer.linear, self.final_layer.adaLN_modulation[0])

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.decode(x, self.encode(x, t, y))

    def encode(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """The state (N, T, D), a condition for each token."""
        time = self.t_embedder(t)[:, None]
        c = F.silu(time + self.y_embedder(y)[:, None])
        tokens, rotation = self.s_embedder(to_patches(x, self.config.patch_size)), self._rotation(x)
        for block in self.blocks[: self.config.num_encoder_blocks]:
            tokens = block(tokens, c, rotation)
        return F.silu(time + tokens)

    def decode(self, x: Tensor, state: Tensor) -> Tensor:
        """The velocity at x; time and class are in the state."""
        tokens, rotation = self.x_embedder(to_patches(x, self.config.patch_size)), self._rotation(x)
        for block in self.blocks[self.config.num_encoder_blocks :]:
            tokens = block(tokens, state, rotation)
        return from_patches(self.final_layer(tokens, state), self.config.patch_size, *x.shape[2:])

    def _rotation(self, x: Tensor) -> Tensor:
        rows, columns = (torch.linspace(0, EXTENT, n // self.config.patch_size, device=x.device) for n in x.shape[2:])
        places = rows.repeat_interleave(len(columns)), columns.repeat(len(rows))
        return columns_and_rows(*places, self.config.hidden_size // self.config.num_groups)


def build(config: Config) -> DDT:
    return DDT(config)


given = class_conditional
