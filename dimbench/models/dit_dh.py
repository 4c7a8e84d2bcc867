"""DiT-DH, the second stage of RAE (Zheng et al., Diffusion Transformers with Representation Autoencoders, arXiv
2510.11690): a deep narrow encoder and a wide head of few blocks, on features of 768 channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import initial
from dimbench.layers.adaln import AdaLNFinalLayer, AdaLNZeroBlock
from dimbench.layers.embed import LabelEmbedder, PatchEmbed, sincos_2d, unpatchify
from dimbench.layers.inputs import class_conditional
from dimbench.layers.lightning import lightning_block, token_norm
from dimbench.layers.rope import RotationTable
from dimbench.layers.sizes import check_sizes

WAVES = 256


@dataclass(frozen=True)
class Config:
    """`input_size` is the side of the latent. `hidden_size`, `depth` and `num_heads` are those of the encoder and of
    the head; the table of positions (`use_pos_embed`) is the encoder's alone."""

    input_size: int = 16
    in_channels: int = 768
    patch_size: int = 1
    hidden_size: Sequence[int] = (1152, 2048)
    depth: Sequence[int] = (28, 2)
    num_heads: Sequence[int] = (16, 16)
    mlp_ratio: float = 4.0
    num_classes: int = 1000
    class_dropout_prob: float = 0.1
    use_pos_embed: bool = True
    use_qknorm: bool = False
    use_swiglu: bool = True
    use_rmsnorm: bool = True

    def __post_init__(self) -> None:
        check_sizes(self)
        if self.patch_size != 1:
            raise UsageError(f"patch_size {self.patch_size} is not one that DiT-DH has; each place is a token: give 1")
        if self.input_size < 1:
            raise UsageError(f"a latent of side {self.input_size} holds no token; give a larger resolution")
        for name in ("hidden_size", "depth", "num_heads"):
            if len(getattr(self, name)) != 2:
                raise UsageError(f"{name} {list(getattr(self, name))} is not understood; give that of encoder and head")
        for width, heads in zip(self.hidden_size, self.num_heads, strict=True):
            if width % (4 * heads):
                raise UsageError(
                    f"hidden_size {width} does not fit {heads} heads, each of a multiple of 4; give a multiple of "
                    f"{4 * heads}"
                )

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, h)."""
        return (self.in_channels, self.input_size, self.input_size)

    @property
    def label_dropout(self) -> float:
        return self.class_dropout_prob

    @property
    def null_label(self) -> int | None:
        """The label that means "no class", or None where the table has no such row."""
        return self.num_classes if self.class_dropout_prob > 0 else None


class FourierEmbedder(nn.Module):
    """(N,) times -> (N, width), through waves of random lengths that are drawn once and not trained."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(WAVES), requires_grad=False)
        self.mlp = nn.Sequential(nn.Linear(2 * WAVES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        angles = 2 * math.pi * t[:, None] * self.W
        return self.mlp(torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1).to(self.mlp[0].weight.dtype))


class DiTDH(nn.Module):
    """forward(x (N, C, h, h), t (N,) from data 0 to noise 1, y (N,)) -> the velocity (N, C, h, h)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        (narrow, wide), (encoder_heads, head_heads) = config.hidden_size, config.num_heads
        side = config.input_size
        self.s_embedder = PatchEmbed(config.in_channels, narrow, 1)
        self.x_embedder = PatchEmbed(config.in_channels, wide, 1)
        self.s_projector = nn.Linear(narrow, wide) if narrow != wide else nn.Identity()
        self.t_embedder = FourierEmbedder(narrow)
        self.y_embedder = LabelEmbedder(config.num_classes, narrow, config.class_dropout_prob)
        self.pos_embed = nn.Parameter(sincos_2d(narrow, side), requires_grad=False) if config.use_pos_embed else None
        self.enc_feat_rope = RotationTable(side, narrow // encoder_heads)
        self.dec_feat_rope = RotationTable(side, wide // head_heads)
        parts = list(zip(config.hidden_size, config.depth, config.num_heads, strict=True))
        self.blocks = nn.ModuleList(self._block(width, heads) for width, depth, heads in parts for _ in range(depth))
        self.final_layer = AdaLNFinalLayer(wide, config.in_channels, token_norm(config.use_rmsnorm))
        self._initialise()

    def _block(self, width: int, heads: int) -> AdaLNZeroBlock:
        return lightning_block(
            width,
            heads,
            self.config.mlp_ratio,
            use_swiglu=self.config.use_swiglu,
            use_rmsnorm=self.config.use_rmsnorm,
            use_qknorm=self.config.use_qknorm,
        )

    def _initialise(self) -> None:
        """All other layers keep torch's own start."""
        for embedding in (self.x_embedder, self.s_embedder):
            initial.flat_xavier(embedding.proj)
        initial.small(self.y_embedder.embedding_table, self.t_embedder.mlp[0], self.t_embedder.mlp[2])
        initial.zero(self.final_layer.linear)
        initial.zero(*(layer.adaLN_modulation[1] for layer in (*self.blocks, self.final_layer)))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """The conditions of blocks went through one SiLU here and go through a second in each block."""
        time, count = self.t_embedder(t), self.config.depth[0]
        c = F.silu(time + self.y_embedder(y))
        state = self.s_embedder(x)
        state = state if self.pos_embed is None else state + self.pos_embed
        rotation = self.enc_feat_rope()
        for block in self.blocks[:count]:
            state = block(state, c, rotation)
        state = self.s_projector(F.silu(time[:, None] + state))
        tokens, rotation = self.x_embedder(x), self.dec_feat_rope()
        for block in self.blocks[count:]:
            tokens = block(tokens, state, rotation)
        return unpatchify(self.final_layer(tokens, state), 1)


def build(config: Config) -> DiTDH:
    return DiTDH(config)


given = class_conditional
