"""DiMSUM (Phung et al., arXiv 2411.04168): Mamba over space and over wavelets, fused by attention, with one
transformer block shared between every few layers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers.adaln import AdaLNFinalLayer, AdaLNZeroBlock, gated, modulate, modulation
from dimbench.layers.attention import SelfAttention, attend, split_heads
from dimbench.layers.drop_path import drop_path
from dimbench.layers.embed import LabelEmbedder, PatchEmbed, TimestepEmbedder, sincos_2d, unpatchify
from dimbench.layers.inputs import class_conditional
from dimbench.layers.mamba import Mixer
from dimbench.layers.mlp import GatedMlp
from dimbench.layers.norm import RmsNorm
from dimbench.layers.scan_orders import Order, corner_paths, four_way, windows
from dimbench.layers.sizes import check_sizes, check_types
from dimbench.layers.wavelet import HaarFilters, InverseHaarFilters, from_wavelets, to_wavelets

LEVELS = 2


@dataclass(frozen=True)
class Config:
    """`input_size` is the side of the latent. `scan_type` "none" takes the published cycle of four orders; "sweep_n",
    "zigma_n" and "jpeg_n" (n = 1..8) the corner paths. `use_attn_every_k_layers` of 0 or less leaves out the shared
    block."""

    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 1024
    depth: int = 16
    num_heads: int = 16
    fusion_heads: int = 8
    mlp_ratio: float = 4.0
    num_classes: int = 1000
    label_dropout: float = 0.15
    learn_sigma: bool = False
    learnable_pe: bool = True
    use_attn_every_k_layers: int = 4
    scan_type: str = "none"
    drop_path: float = 0.1

    def __post_init__(self) -> None:
        check_types(self)
        object.__setattr__(self, "use_attn_every_k_layers", max(0, self.use_attn_every_k_layers))
        check_sizes(self, ("use_attn_every_k_layers",))
        if self.input_size < 1 or self.input_size % (self.patch_size * 2**LEVELS):
            raise UsageError(
                f"a latent of side {self.input_size} cannot be cut into patches of {self.patch_size} and {LEVELS} "
                f"wavelet levels; give a resolution whose latent side is a positive multiple of "
                f"{self.patch_size * 2**LEVELS}"
            )
        if self.hidden_size % 32 or self.hidden_size % self.num_heads or self.hidden_size // 2 % self.fusion_heads:
            raise UsageError(
                f"hidden_size {self.hidden_size} does not fit {self.num_heads} heads, {self.fusion_heads} fusion "
                "heads and the wavelet layout; give a multiple of 32, of num_heads and of 2 x fusion_heads"
            )
        if self.scan_type != "none" and not re.fullmatch(r"(sweep|zigma|jpeg)_[1-8]", self.scan_type):
            raise UsageError(
                f"scan_type {self.scan_type!r} is unknown; give none, or sweep_n, zigma_n or jpeg_n with n from 1 to 8"
            )

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

    @property
    def grid(self) -> int:
        """Tokens per side."""
        return self.input_size // self.patch_size


class ScanBranch(nn.Module):
    """u + gate mixer(u (1 + scale) + shift), the tokens read in a fixed order and put back."""

    def __init__(self, config: Config, index: int, order: Order) -> None:
        super().__init__()
        half = config.hidden_size // 2
        self.mixer = Mixer(half, condition=config.hidden_size)
        self.adaLN_modulation = modulation(config.hidden_size, 3 * half)
        if config.scan_type != "none":
            kind, count = config.scan_type.split("_")
            paths = corner_paths(kind, config.grid)[: int(count)]
            table = torch.as_tensor(paths).repeat(config.depth, 1)
            self.mixer.register_buffer("zigzag_paths", table)
            self.mixer.register_buffer("zigzag_paths_reverse", torch.argsort(table, dim=1))
            order = order[paths[index % len(paths)]]
        self.register_buffer("order", torch.as_tensor(order), persistent=False)
        self.register_buffer("places", torch.argsort(self.order), persistent=False)

    def forward(self, u: Tensor, c: Tensor) -> Tensor:
        return self.mixed(u.index_select(1, self.order), c).index_select(1, self.places)

    def mixed(self, u: Tensor, c: Tensor) -> Tensor:
        """The branch on tokens in scan order."""
        shift, scale, gate = self.adaLN_modulation(c).chunk(3, dim=-1)
        return gated(u, gate, self.mixer(modulate(u, shift, scale)))


class SpatialBranch(ScanBranch):
    """The scan over the tokens themselves."""

    def __init__(self, config: Config, index: int) -> None:
        turn = index if config.scan_type == "none" else 0
        super().__init__(config, index, four_way(config.grid, turn))


class WaveletBranch(ScanBranch):
    """The scan over windows of the Haar packets of the token grid."""

    def __init__(self, config: Config, index: int) -> None:
        by_columns = config.scan_type == "none" and index % 2 == 1
        super().__init__(config, index, windows(config.grid, config.grid // 2**LEVELS, by_columns))
        self.dwt = HaarFilters()
        self.idwt = InverseHaarFilters()

    def forward(self, u: Tensor, c: Tensor) -> Tensor:
        return from_wavelets(self.mixed(to_wavelets(u, self.places, LEVELS), c), self.places, LEVELS)


class Fusion(nn.Module):
    """Attention across two streams (N, L, H) -> (N, L, 2H): each stream's queries meet the other's keys."""

    def __init__(self, half: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv1 = nn.Linear(half, 3 * half)
        self.qkv2 = nn.Linear(half, 3 * half)
        self.proj = nn.Linear(2 * half, 2 * half)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        query1, key1, value1 = split_heads(self.qkv1(first), 3, self.heads)
        query2, key2, value2 = split_heads(self.qkv2(second), 3, self.heads)
        return self.proj(torch.cat([attend(query1, key2, value2), attend(query2, key1, value1)], dim=-1))


class Block(nn.Module):
    """(x, residual, c) -> (x, residual): both branches, fusion, gated feed-forward network.

    The new residual is the sum before the norm, in float32; the block's own skip starts from the normed tokens.
    """

    def __init__(self, config: Config, index: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.norm = RmsNorm(width)
        self.norm_2 = RmsNorm(width)
        self.spatial_mamba = SpatialBranch(config, index)
        self.freq_mamba = WaveletBranch(config, index)
        self.proj = Fusion(width // 2, config.fusion_heads)
        self.adaLN_modulation = modulation(width, 3 * width)
        self.mlp = GatedMlp(width, int(config.mlp_ratio * width))
        self.drop_path = config.drop_path * max(0, index - 1) / max(1, config.depth - 1)

    def forward(self, x: Tensor, residual: Tensor | None, c: Tensor) -> tuple[Tensor, Tensor]:
        if residual is not None:
            residual = residual + (drop_path(x, self.drop_path) if self.training else x)
        else:
            residual = x.to(torch.promote_types(x.dtype, torch.float32))
        u = self.norm(residual).to(x.dtype)
        spatial, wavelet = u.chunk(2, dim=-1)
        x = u + self.proj(self.spatial_mamba(spatial, c), self.freq_mamba(wavelet, c))
        shift, scale, gate = self.adaLN_modulation(c).chunk(3, dim=-1)
        x = gated(x, gate, self.mlp(modulate(self.norm_2(x), shift, scale)))
        return x, residual


class DiMSUM(nn.Module):
    """forward(x (N, C, h, h), t (N,) in [0, 1], y (N,) or None) -> velocity (N, out_channels, h, h)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.pos_embed = nn.Parameter(sincos_2d(width, config.grid), requires_grad=config.learnable_pe)
        self.x_embedder = PatchEmbed(config.in_channels, width, config.patch_size)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(config.num_classes, width, config.label_dropout)
        self.blocks = nn.ModuleList(Block(config, index) for index in range(config.depth))
        self.period = config.use_attn_every_k_layers
        if self.period > 0:
            self.attn_block = AdaLNZeroBlock(
                width, SelfAttention(width, config.num_heads), GatedMlp(width, int(config.mlp_ratio * width))
            )
        self.final_layer = AdaLNFinalLayer(width, config.patch_size**2 * config.out_channels)
        self._initialise()

    def _initialise(self) -> None:
        """The official order: most weights keep PyTorch's default, biases go to zero, the output starts at zero."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) and not name.endswith("dt_proj"):
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
                if name.endswith("mixer.out_proj"):
                    nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5))
                    with torch.no_grad():
                        module.weight /= math.sqrt(self.config.depth)
        patches = self.x_embedder.proj
        nn.init.xavier_uniform_(patches.weight.view(patches.out_channels, -1))
        nn.init.zeros_(patches.bias)
        for weight in (self.y_embedder.embedding_table.weight, *(self.t_embedder.mlp[i].weight for i in (0, 2))):
            nn.init.normal_(weight, std=0.02)
        for block in self.blocks:
            nn.init.zeros_(block.adaLN_modulation[1].weight)
        for linear in (self.final_layer.adaLN_modulation[1], self.final_layer.linear):
            nn.init.zeros_(linear.weight)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        if y is None:
            last = self.y_embedder.embedding_table.num_embeddings - 1
            y = torch.full((x.shape[0],), last, device=x.device)
        c = self.t_embedder(t) + self.y_embedder(y)
        tokens, residual = self.x_embedder(x) + self.pos_embed, None
        for index, block in enumerate(self.blocks, start=1):
            tokens, residual = block(tokens, residual, c)
            if self.period > 0 and index % self.period == 0:
                tokens = self.attn_block(tokens, c)
        return unpatchify(self.final_layer(tokens, c), self.config.patch_size)


def build(config: Config) -> DiMSUM:
    return DiMSUM(config)


given = class_conditional
