"""Skip-DiT (Chen et al., arXiv 2411.17616): DiT whose later half of blocks is joined to the earlier one by long skips,
so that what lies between can be kept from step to step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import initial
from dimbench.layers.adaln import AdaLNFinalLayer, AdaLNZeroBlock
from dimbench.layers.attention import SelfAttention
from dimbench.layers.embed import LabelEmbedder, PatchEmbed, TimestepEmbedder, sincos_2d, unpatchify
from dimbench.layers.inputs import class_conditional
from dimbench.layers.mlp import Mlp
from dimbench.layers.named import named
from dimbench.layers.sizes import check_sizes


@dataclass(frozen=True)
class Config:
    """As DiT's, with an even `depth`. `input_size` is the side of the latent."""

    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    num_classes: int = 1000
    label_dropout: float = 0.1
    learn_sigma: bool = True

    def __post_init__(self) -> None:
        check_sizes(self)
        if self.input_size < 1 or self.input_size % self.patch_size:
            raise UsageError(
                f"a latent of side {self.input_size} cannot be cut into patches of {self.patch_size}; give a "
                f"resolution whose latent side is a positive multiple of {self.patch_size}"
            )
        if self.hidden_size % 4 or self.hidden_size % self.num_heads:
            raise UsageError(
                f"hidden_size {self.hidden_size} does not fit {self.num_heads} heads; give a multiple of 4 and of "
                "num_heads"
            )
        if self.depth < 2 or self.depth % 2:
            raise UsageError(f"depth {self.depth} has no two halves; give an even number of at least 2")

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, h)."""
        return (self.in_channels, self.input_size, self.input_size)

    @property
    def null_label(self) -> int | None:
        """The label that means "no class", or None where the table has no such row."""
        return self.num_classes if self.label_dropout > 0 else None


class SkipDiT(nn.Module):
    """forward(x (N, C, h, h), t (N,), y (N,)) -> (N, C, h, h), or (N, 2C, h, h) with `learn_sigma`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, half = config.hidden_size, config.depth // 2
        outputs = config.in_channels * (2 if config.learn_sigma else 1)
        self.x_embedder = PatchEmbed(config.in_channels, width, config.patch_size)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(config.num_classes, width, config.label_dropout)
        side = config.input_size // config.patch_size
        self.pos_embed = nn.Parameter(sincos_2d(width, side), requires_grad=False)
        self.blocks = nn.ModuleList(
            AdaLNZeroBlock(width, SelfAttention(width, config.num_heads), Mlp(width, int(width * config.mlp_ratio)))
            for _ in range(config.depth)
        )
        self.final_layer = AdaLNFinalLayer(width, config.patch_size**2 * outputs)
        self._initialise()
        # made after the others have started: these keep torch's own start
        self.skip_norms = nn.ModuleList(nn.LayerNorm(2 * width, eps=1e-6) for _ in range(half))
        self.skip_linears = nn.ModuleList(named(linear=nn.Linear(2 * width, width)) for _ in range(half))

    def _initialise(self) -> None:
        initial.xavier(self)
        initial.flat_xavier(self.x_embedder.proj)
        initial.small(self.y_embedder.embedding_table, self.t_embedder.mlp[0], self.t_embedder.mlp[2])
        initial.zero(self.final_layer.linear)
        initial.zero(*(layer.adaLN_modulation[1] for layer in (*self.blocks, self.final_layer)))

    def inner(self, level: int) -> tuple[list[nn.Module], nn.Module]:
        """What lies within the `level` outermost blocks of both sides but the last block, and that."""
        count = max(0, len(self.skip_norms) - level)
        blocks = self.blocks[level : len(self.blocks) - level] or self.blocks[-1:]
        return [*blocks[:-1], *self.skip_norms[:count], *self.skip_linears[:count]], blocks[-1]

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        tokens = self.x_embedder(x) + self.pos_embed
        c = self.t_embedder(t) + self.y_embedder(y)
        half, skips = len(self.skip_norms), []
        for block in self.blocks[:half]:
            tokens = block(tokens, c)
            skips.append(tokens)
        for block, norm, linear in zip(self.blocks[half:], self.skip_norms, self.skip_linears, strict=True):
            tokens = block(linear(norm(torch.cat([tokens, skips.pop()], dim=-1))), c)
        return unpatchify(self.final_layer(tokens, c), self.config.patch_size)


def build(config: Config) -> SkipDiT:
    return SkipDiT(config)


given = class_conditional
