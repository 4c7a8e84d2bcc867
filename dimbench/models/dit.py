"""DiT (Peebles & Xie, arXiv 2212.09748) in its four conditioning designs, and SiT, the same network cut to velocity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import initial
from dimbench.layers.adaln import AdaLNFinalLayer, AdaLNZeroBlock, modulate, modulation, plain_norm
from dimbench.layers.attention import CrossAttention, SelfAttention
from dimbench.layers.embed import LabelEmbedder, PatchEmbed, TimestepEmbedder, sincos_2d, unpatchify
from dimbench.layers.inputs import class_conditional
from dimbench.layers.mlp import Mlp
from dimbench.layers.sizes import check_sizes

CONDITIONINGS = ("adaln-zero", "adaln", "cross-attention", "in-context")


@dataclass(frozen=True)
class Config:
    """`input_size` is the side of the latent; `keep_sigma` false returns only the first `in_channels` outputs (SiT)."""

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
    keep_sigma: bool = True
    conditioning: str = "adaln-zero"

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
        if self.conditioning not in CONDITIONINGS:
            raise UsageError(f"conditioning {self.conditioning!r} is unknown; known are {', '.join(CONDITIONINGS)}")

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, h)."""
        return (self.in_channels, self.input_size, self.input_size)

    @property
    def null_label(self) -> int | None:
        """The label that means "no class", or None where the table has no such row."""
        return self.num_classes if self.label_dropout > 0 else None

    @property
    def out_channels(self) -> int:
        return self.in_channels * (2 if self.learn_sigma else 1)


class AdaLNBlock(nn.Module):
    """DiT's "adaLN" design: shift and scale from the condition, no gates."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attn = SelfAttention(width, heads)
        self.mlp = Mlp(width, hidden)
        self.adaLN_modulation = modulation(width, 4 * width)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift_a, scale_a, shift_m, scale_m = self.adaLN_modulation(c).chunk(4, dim=-1)
        x = x + self.attn(modulate(plain_norm(x), shift_a, scale_a))
        return x + self.mlp(modulate(plain_norm(x), shift_m, scale_m))


class PlainBlock(nn.Module):
    """A pre-norm transformer block; with `cross` it attends to the condition tokens between its two halves."""

    def __init__(self, width: int, heads: int, hidden: int, cross: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = SelfAttention(width, heads)
        if cross:
            self.norm_cross = nn.LayerNorm(width, eps=1e-6)
            self.cross_attn = CrossAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, hidden)
        self.cross = cross

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        if self.cross:
            x = x + self.cross_attn(self.norm_cross(x), context)
        return x + self.mlp(self.norm2(x))


class PlainFinalLayer(nn.Module):
    """Norm and Linear."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.linear = nn.Linear(width, outputs)

    def forward(self, x: Tensor, count: int) -> Tensor:
        """The first `count` tokens of x, normed and projected."""
        return self.linear(self.norm(x)[:, :count])


class DiT(nn.Module):
    """forward(x (N, C, h, h), t (N,), y (N,)) -> (N, out_channels, h, h), or (N, C, h, h) without `keep_sigma`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, hidden = config.hidden_size, int(config.hidden_size * config.mlp_ratio)
        outputs = config.patch_size**2 * config.out_channels
        self.x_embedder = PatchEmbed(config.in_channels, width, config.patch_size)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(config.num_classes, width, config.label_dropout)
        side = config.input_size // config.patch_size
        self.pos_embed = nn.Parameter(sincos_2d(width, side), requires_grad=False)

        def block() -> nn.Module:
            if config.conditioning == "adaln-zero":
                return AdaLNZeroBlock(width, SelfAttention(width, config.num_heads), Mlp(width, hidden))
            if config.conditioning == "adaln":
                return AdaLNBlock(width, config.num_heads, hidden)
            return PlainBlock(width, config.num_heads, hidden, cross=config.conditioning == "cross-attention")

        self.blocks = nn.ModuleList(block() for _ in range(config.depth))
        self.adaptive = config.conditioning.startswith("adaln")
        self.final_layer = AdaLNFinalLayer(width, outputs) if self.adaptive else PlainFinalLayer(width, outputs)
        self._initialise()

    def _initialise(self) -> None:
        """Xavier everywhere; zero output; with adaLN-Zero every block starts as the identity."""
        initial.xavier(self)
        initial.flat_xavier(self.x_embedder.proj)
        initial.small(self.y_embedder.embedding_table, self.t_embedder.mlp[0], self.t_embedder.mlp[2])
        initial.zero(self.final_layer.linear)
        if self.config.conditioning == "adaln-zero":
            initial.zero(*(layer.adaLN_modulation[1] for layer in (*self.blocks, self.final_layer)))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        tokens = self.x_embedder(x) + self.pos_embed
        time, label = self.t_embedder(t), self.y_embedder(y)
        if self.adaptive:
            output = self._adaptive(tokens, time + label)
        else:
            output = self._with_condition_tokens(tokens, torch.stack([time, label], dim=1))
        image = unpatchify(output, self.config.patch_size)
        return image if self.config.keep_sigma else image[:, : self.config.in_channels]

    def _adaptive(self, tokens: Tensor, c: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens, c)
        return self.final_layer(tokens, c)

    def _with_condition_tokens(self, tokens: Tensor, condition: Tensor) -> Tensor:
        count = tokens.shape[1]
        if self.config.conditioning == "in-context":
            tokens = torch.cat([tokens, condition], dim=1)
        for block in self.blocks:
            tokens = block(tokens, condition)
        return self.final_layer(tokens, count)


def build(config: Config) -> DiT:
    return DiT(config)


def fit_checkpoint(state: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The weights without the mean and variance of the latents, which REPA-E keeps among them."""
    return {name: tensor for name, tensor in state.items() if not name.startswith("bn.")}


given = class_conditional
