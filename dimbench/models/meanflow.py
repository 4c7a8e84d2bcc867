"""MeanFlow (Geng et al., Mean Flows for One-step Generative Modeling, arXiv 2505.13447) on SiT: told two times, it
gives the average velocity between them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import initial
from dimbench.layers.adaln import AdaLNFinalLayer, AdaLNZeroBlock
from dimbench.layers.attention import SelfAttention
from dimbench.layers.embed import LabelEmbedder, PatchEmbed, TimestepEmbedder, sincos_2d, unpatchify
from dimbench.layers.inputs import class_conditional
from dimbench.layers.mlp import Mlp
from dimbench.layers.sizes import check_sizes


@dataclass(frozen=True)
class Config:
    """`input_size` is the side of the latent; `qk_norm` norms queries and keys."""

    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    num_classes: int = 1000
    label_dropout: float = 0.1
    qk_norm: bool = False

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

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, h)."""
        return (self.in_channels, self.input_size, self.input_size)

    @property
    def null_label(self) -> int | None:
        """The label that means "no class", or None where the table has no such row."""
        return self.num_classes if self.label_dropout > 0 else None


class MeanFlowSiT(nn.Module):
    """forward(x (N, C, h, h), t, y (N,)) -> the average velocity (N, C, h, h) from x, which lies at the first of two
    times t (N, 2), to the second; times run from data 0 to noise 1. Of one time (N,) it is the velocity there."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.x_embedder = PatchEmbed(config.in_channels, width, config.patch_size)
        self.t_embedder = TimestepEmbedder(width)
        self.r_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(config.num_classes, width, config.label_dropout)
        side = config.input_size // config.patch_size
        self.pos_embed = nn.Parameter(sincos_2d(width, side), requires_grad=False)
        self.blocks = nn.ModuleList(self._block() for _ in range(config.depth))
        self.final_layer = AdaLNFinalLayer(width, config.patch_size**2 * config.in_channels)
        self._initialise()

    def _block(self) -> AdaLNZeroBlock:
        width = self.config.hidden_size
        attention = SelfAttention(width, self.config.num_heads, norm=nn.LayerNorm if self.config.qk_norm else None)
        return AdaLNZeroBlock(width, attention, Mlp(width, int(width * self.config.mlp_ratio)))

    def _initialise(self) -> None:
        initial.xavier(self)
        initial.flat_xavier(self.x_embedder.proj)
        times = (self.t_embedder, self.r_embedder)
        initial.small(self.y_embedder.embedding_table, *(embedder.mlp[k] for embedder in times for k in (0, 2)))
        initial.zero(self.final_layer.linear)
        initial.zero(*(layer.adaLN_modulation[1] for layer in (*self.blocks, self.final_layer)))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        start, end = t.unbind(1) if t.ndim == 2 else (t, t)
        tokens = self.x_embedder(x) + self.pos_embed
        c = self.t_embedder(start) + self.r_embedder(start - end) + self.y_embedder(y)
        for block in self.blocks:
            tokens = block(tokens, c)
        return unpatchify(self.final_layer(tokens, c), self.config.patch_size)


def build(config: Config) -> MeanFlowSiT:
    return MeanFlowSiT(config)


given = class_conditional
