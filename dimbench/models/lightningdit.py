"""LightningDiT (Yao et al., Reconstruction vs. Generation, arXiv 2501.01423): DiT with RMSNorm, SwiGLU and rotary
positions, on latents of 32 channels and one place per 16 x 16 pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import initial
from dimbench.layers.adaln import AdaLNFinalLayer, AdaLNZeroBlock, Norm, for_tokens, gated, modulation
from dimbench.layers.embed import LabelEmbedder, PatchEmbed, TimestepEmbedder, sincos_2d, unpatchify
from dimbench.layers.inputs import class_conditional
from dimbench.layers.lightning import lightning_block, token_norm
from dimbench.layers.rope import RotationTable
from dimbench.layers.sizes import check_sizes


@dataclass(frozen=True)
class Config:
    """`input_size` is the side of the latent. Without the four `use_` settings and with `wo_shift` false the network
    is a DiT; `wo_shift` leaves the shifts of the blocks out; of `learn_sigma`'s channels forward returns the first
    half."""

    input_size: int = 16
    patch_size: int = 1
    in_channels: int = 32
    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    num_classes: int = 1000
    class_dropout_prob: float = 0.1
    learn_sigma: bool = False
    use_swiglu: bool = True
    use_rope: bool = True
    use_rmsnorm: bool = True
    use_qknorm: bool = False
    wo_shift: bool = False

    def __post_init__(self) -> None:
        check_sizes(self)
        if self.input_size < 1 or self.input_size % self.patch_size:
            raise UsageError(
                f"a latent of side {self.input_size} cannot be cut into patches of {self.patch_size}; give a "
                f"resolution whose latent side is a positive multiple of {self.patch_size}"
            )
        if self.hidden_size % (4 * self.num_heads):
            raise UsageError(
                f"hidden_size {self.hidden_size} does not fit {self.num_heads} heads, each of a multiple of 4; give a "
                f"multiple of {4 * self.num_heads}"
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

    @property
    def side(self) -> int:
        """Patches per side."""
        return self.input_size // self.patch_size


class ScaledBlock(AdaLNZeroBlock):
    """The DiT block without shifts."""

    serving: ClassVar[Mapping[str, tuple[str, int]]] = {"attn": ("norm1", 1), "mlp": ("norm2", 3)}

    def __init__(self, width: int, attn: nn.Module, mlp: nn.Module, norm: Norm) -> None:
        super().__init__(width, attn, mlp, norm)
        self.adaLN_modulation = modulation(width, 4 * width)

    def forward(self, x: Tensor, c: Tensor, *attended: Tensor) -> Tensor:
        scale_a, gate_a, scale_m, gate_m = map(for_tokens, self.adaLN_modulation(c).chunk(4, dim=-1))
        x = gated(x, gate_a, self.attn(self.norm1(x) * (1 + scale_a), *attended))
        return gated(x, gate_m, self.mlp(self.norm2(x) * (1 + scale_m)))


class LightningDiT(nn.Module):
    """forward(x (N, C, h, h), t (N,) from noise 0 to data 1, y (N,)) -> the velocity (N, C, h, h)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, outputs = config.hidden_size, config.in_channels * (2 if config.learn_sigma else 1)
        self.x_embedder = PatchEmbed(config.in_channels, width, config.patch_size)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(config.num_classes, width, config.class_dropout_prob)
        self.pos_embed = nn.Parameter(sincos_2d(width, config.side), requires_grad=False)
        self.feat_rope = RotationTable(config.side, width // config.num_heads) if config.use_rope else None
        self.blocks = nn.ModuleList(
            lightning_block(
                width,
                config.num_heads,
                config.mlp_ratio,
                use_swiglu=config.use_swiglu,
                use_rmsnorm=config.use_rmsnorm,
                use_qknorm=config.use_qknorm,
                block=ScaledBlock if config.wo_shift else AdaLNZeroBlock,
            )
            for _ in range(config.depth)
        )
        self.final_layer = AdaLNFinalLayer(width, config.patch_size**2 * outputs, token_norm(config.use_rmsnorm))
        self._initialise()

    def _initialise(self) -> None:
        initial.xavier(self)
        initial.flat_xavier(self.x_embedder.proj)
        initial.small(self.y_embedder.embedding_table, self.t_embedder.mlp[0], self.t_embedder.mlp[2])
        initial.zero(self.final_layer.linear)
        initial.zero(*(layer.adaLN_modulation[1] for layer in (*self.blocks, self.final_layer)))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        tokens = self.x_embedder(x) + self.pos_embed
        c = self.t_embedder(t) + self.y_embedder(y)
        attended = () if self.feat_rope is None else (self.feat_rope(),)
        for block in self.blocks:
            tokens = block(tokens, c, *attended)
        return unpatchify(self.final_layer(tokens, c), self.config.patch_size)[:, : self.config.in_channels]


def build(config: Config) -> LightningDiT:
    return LightningDiT(config)


given = class_conditional
