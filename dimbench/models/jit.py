"""JiT (Li & He, Back to Basics: Let Denoising Generative Models Denoise, arXiv 2511.13720): a transformer on pixels
that predicts the clean image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import initial
from dimbench.layers.adaln import AdaLNFinalLayer, AdaLNZeroBlock
from dimbench.layers.attention import SelfAttention
from dimbench.layers.embed import BottleneckPatchEmbed, LabelEmbedder, TimestepEmbedder, sincos_2d, unpatchify
from dimbench.layers.inputs import class_conditional
from dimbench.layers.mlp import SwiGlu
from dimbench.layers.norm import fine_rms_norm
from dimbench.layers.rope import grid, rows_then_columns
from dimbench.layers.sizes import check_sizes


@dataclass(frozen=True)
class Config:
    """`bottleneck_dim` is the rank of the patch embedding. `in_context_len` of the class stand before the patches from
    block `in_context_start` on. `proj_dropout` acts in the middle half of the blocks, in training."""

    input_size: int = 256
    patch_size: int = 16
    in_channels: int = 3
    hidden_size: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    bottleneck_dim: int = 128
    in_context_len: int = 32
    in_context_start: int = 4
    num_classes: int = 1000
    label_dropout: float = 0.1
    proj_dropout: float = 0.0

    def __post_init__(self) -> None:
        check_sizes(self, ("in_context_len", "in_context_start"))
        if self.input_size < 1 or self.input_size % self.patch_size:
            raise UsageError(
                f"an image of side {self.input_size} cannot be cut into patches of {self.patch_size}; give a positive "
                f"multiple of {self.patch_size}"
            )
        if self.hidden_size % (4 * self.num_heads):
            raise UsageError(
                f"hidden_size {self.hidden_size} does not fit {self.num_heads} heads, each of a multiple of 4; give a "
                f"multiple of {4 * self.num_heads}"
            )
        if self.in_context_len and not 0 <= self.in_context_start < self.depth:
            raise UsageError(
                f"in_context_start {self.in_context_start} is not one of the {self.depth} blocks; give 0 to "
                f"{self.depth - 1}"
            )
        if not self.label_dropout > 0:
            raise UsageError(
                f"label_dropout {self.label_dropout:g} leaves no label for 'no class', which JiT is guided by; give "
                "more than 0"
            )

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, h)."""
        return (self.in_channels, self.input_size, self.input_size)

    @property
    def null_label(self) -> int:
        """The label that means "no class"."""
        return self.num_classes

    @property
    def side(self) -> int:
        """Patches per side."""
        return self.input_size // self.patch_size


class Attention(SelfAttention):
    """Self-attention with normed queries and keys, dropped out behind its output."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__(width, heads, norm=fine_rms_norm)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, rotation: Tensor | None = None) -> Tensor:
        return self.dropout(super().forward(x, rotation))


class FeedForward(SwiGlu):
    """SwiGLU, dropped out before its output layer."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__(width, hidden)
        self.dropout = nn.Dropout(dropout)

    def combine(self, gate: Tensor, value: Tensor, *, inplace: bool) -> Tensor:
        return self.dropout(super().combine(gate, value, inplace=inplace))


class JiT(nn.Module):
    """forward(x (N, C, h, h), t (N,) from noise 0 to image 1, y (N,)) -> the clean image (N, C, h, h)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, patch = config.hidden_size, config.patch_size
        self.x_embedder = BottleneckPatchEmbed(config.in_channels, width, patch, config.bottleneck_dim, bias=False)
        self.pos_embed = nn.Parameter(sincos_2d(width, config.side), requires_grad=False)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(config.num_classes, width, config.label_dropout)
        if config.in_context_len:
            self.in_context_posemb = nn.Parameter(torch.zeros(1, config.in_context_len, width))
        self.blocks = nn.ModuleList(self._block(index) for index in range(config.depth))
        self.final_layer = AdaLNFinalLayer(width, patch**2 * config.in_channels, fine_rms_norm)
        self._initialise()

    def _block(self, index: int) -> AdaLNZeroBlock:
        config = self.config
        middle = config.depth // 4 <= index < 3 * (config.depth // 4)
        dropout = config.proj_dropout if middle else 0.0
        hidden = int(int(config.hidden_size * config.mlp_ratio) * 2 / 3)
        attention = Attention(config.hidden_size, config.num_heads, dropout)
        block = AdaLNZeroBlock(
            config.hidden_size, attention, FeedForward(config.hidden_size, hidden, dropout), fine_rms_norm
        )
        block.tokens_before = config.in_context_len if index >= config.in_context_start else 0
        return block

    def _initialise(self) -> None:
        initial.xavier(self)
        initial.flat_xavier(self.x_embedder.proj1)
        initial.flat_xavier(self.x_embedder.proj2)
        initial.small(self.y_embedder.embedding_table, self.t_embedder.mlp[0], self.t_embedder.mlp[2])
        if self.config.in_context_len:
            nn.init.normal_(self.in_context_posemb, std=initial.SMALL)
        initial.zero(self.final_layer.linear)
        initial.zero(*(layer.adaLN_modulation[1] for layer in (*self.blocks, self.final_layer)))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        config = self.config
        tokens = self.x_embedder(x) + self.pos_embed
        label = self.y_embedder(y)
        c = self.t_embedder(t) + label
        rotation = self._rotation(x.device)
        for index, block in enumerate(self.blocks):
            if config.in_context_len and index == config.in_context_start:
                tokens = torch.cat([label[:, None] + self.in_context_posemb, tokens], dim=1)
                rotation = nn.functional.pad(rotation, (0, 0, config.in_context_len, 0), value=1)
            tokens = block(tokens, c, rotation)
        return unpatchify(self.final_layer(tokens[:, config.in_context_len :], c), config.patch_size)

    def _rotation(self, device: torch.device) -> Tensor:
        """Of the patches; context tokens are not turned."""
        rows, columns = grid(self.config.side, self.config.side, device)
        return rows_then_columns(rows, columns, self.config.hidden_size // self.config.num_heads)


def build(config: Config) -> JiT:
    return JiT(config)


given = class_conditional
