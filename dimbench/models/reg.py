"""REG (Wu et al., Representation Entanglement for Generation, arXiv 2507.01467): SiT with one token more, a class
vector of a pretrained encoder that is denoised together with the image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import initial
from dimbench.layers.adaln import AdaLNZeroBlock, modulate, modulation, plain_norm
from dimbench.layers.attention import SelfAttention
from dimbench.layers.embed import LabelEmbedder, PatchEmbed, TimestepEmbedder, sincos_2d, unpatchify
from dimbench.layers.inputs import class_conditional
from dimbench.layers.mlp import Mlp
from dimbench.layers.sizes import check_sizes


@dataclass(frozen=True)
class Config:
    """`input_size` is the side of the latent, `cls_token_dim` the width of the class vector."""

    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    num_classes: int = 1000
    label_dropout: float = 0.1
    cls_token_dim: int = 768

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
    def beside(self) -> int:
        """How many numbers, the class vector, are denoised with a sample."""
        return self.cls_token_dim

    @property
    def null_label(self) -> int | None:
        """The label that means "no class", or None where the table has no such row."""
        return self.num_classes if self.label_dropout > 0 else None


class JointFinalLayer(nn.Module):
    """Norm, modulate, and a Linear for the class token and one for the others."""

    def __init__(self, width: int, outputs: int, vector: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, outputs)
        self.linear_cls = nn.Linear(width, vector)
        self.adaLN_modulation = modulation(width, 2 * width)

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=-1)
        x = modulate(plain_norm(x), shift, scale)
        return self.linear(x[:, 1:]), self.linear_cls(x[:, 0])


class REG(nn.Module):
    """forward(x (N, C h h + vector), t (N,) from data 0 to noise 1, y (N,)) -> the velocity, as x: the numbers of the
    image, then those of its class vector."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.x_embedder = PatchEmbed(config.in_channels, width, config.patch_size)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(config.num_classes, width, config.label_dropout)
        places = sincos_2d(width, config.input_size // config.patch_size)
        self.pos_embed = nn.Parameter(torch.cat([torch.zeros(1, 1, width), places], dim=1), requires_grad=False)
        self.blocks = nn.ModuleList(self._block() for _ in range(config.depth))
        self.final_layer = JointFinalLayer(width, config.patch_size**2 * config.in_channels, config.cls_token_dim)
        self.cls_projectors2 = nn.Linear(config.cls_token_dim, width)
        self.wg_norm = nn.LayerNorm(width, eps=1e-6)
        self._initialise()

    def _block(self) -> AdaLNZeroBlock:
        width = self.config.hidden_size
        hidden = int(width * self.config.mlp_ratio)
        block = AdaLNZeroBlock(width, SelfAttention(width, self.config.num_heads), Mlp(width, hidden))
        block.tokens_before = 1
        return block

    def _initialise(self) -> None:
        initial.xavier(self)
        initial.flat_xavier(self.x_embedder.proj)
        initial.small(self.y_embedder.embedding_table, self.t_embedder.mlp[0], self.t_embedder.mlp[2])
        initial.zero(self.final_layer.linear, self.final_layer.linear_cls)
        initial.zero(*(layer.adaLN_modulation[1] for layer in (*self.blocks, self.final_layer)))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        image, vector = x.split([x.shape[1] - self.config.beside, self.config.beside], dim=1)
        velocities = self.both(image.unflatten(1, self.config.state), t, y, vector)
        return torch.cat([velocity.flatten(1) for velocity in velocities], dim=1)

    def both(self, x: Tensor, t: Tensor, y: Tensor, cls_token: Tensor) -> tuple[Tensor, Tensor]:
        """The velocities of x and of the class vector."""
        vector = self.wg_norm(self.cls_projectors2(cls_token))[:, None]
        tokens = torch.cat([vector, self.x_embedder(x)], dim=1) + self.pos_embed
        c = self.t_embedder(t) + self.y_embedder(y)
        for block in self.blocks:
            tokens = block(tokens, c)
        patches, vector = self.final_layer(tokens, c)
        return unpatchify(patches, self.config.patch_size), vector


def build(config: Config) -> REG:
    return REG(config)


given = class_conditional
