"""ZigMa (Hu et al., arXiv 2403.13802): DiT-style Mamba blocks that read the grid along eight zigzag paths in turn."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import initial
from dimbench.layers.adaln import gated, modulate, modulation, plain_norm
from dimbench.layers.attention import attend, split_heads
from dimbench.layers.drop_path import drop_path
from dimbench.layers.embed import LabelEmbedder, PatchEmbed, TimestepEmbedder, sincos_2d, unpatchify
from dimbench.layers.inputs import Given, class_conditional, random_rows
from dimbench.layers.mamba import Mixer, StepProjection, init_step, scanned
from dimbench.layers.norm import RmsNorm
from dimbench.layers.scan_orders import corner_paths
from dimbench.layers.sizes import check_sizes

TIME_SCALE = 1000
HEADS, HEAD_WIDTH = 8, 64  # of attention to a text, whatever the width of the network


@dataclass(frozen=True)
class Config:
    """`scan_type`: "zigzagN1" to "zigzagN8" for as many paths in turn, "v2" for both directions in every block.

    `use_pe`: 0 for no position table, 1 for a fixed one, 2 for a learned one; the table per block that 3 means to the
    authors is never trained nor saved, so 3 is 0. The network is told nothing, a class of `num_classes`, or with
    `has_text` `n_context_token` tokens of `d_context`. `dt_rank` 0: a sixteenth of the width.
    """

    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    embed_dim: int = 768
    depth: int = 24
    scan_type: str = "zigzagN8"
    use_pe: int = 2
    num_classes: int = 0
    has_text: bool = False
    d_context: int = 768
    n_context_token: int = 77
    rms_norm: bool = True
    drop_path: float = 0.1
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    dt_rank: int = 0

    def __post_init__(self) -> None:
        check_sizes(self, ("use_pe", "num_classes", "dt_rank"))
        if self.input_size < 1 or self.input_size % self.patch_size:
            raise UsageError(
                f"a latent of side {self.input_size} cannot be cut into patches of {self.patch_size}; give a "
                f"resolution whose latent side is a positive multiple of {self.patch_size}"
            )
        if self.embed_dim < 4 or self.embed_dim % 4:
            raise UsageError(f"embed_dim {self.embed_dim} is no positive multiple of 4; give one")
        if not re.fullmatch("zigzagN[1-8]|v2", self.scan_type):
            raise UsageError(f"scan_type {self.scan_type!r} is unknown; known are zigzagN1 to zigzagN8 and v2")
        if self.use_pe not in (0, 1, 2, 3):
            raise UsageError(
                f"use_pe {self.use_pe} is unknown; give 0 or 3 for no table, 1 for a fixed, 2 for a learned one"
            )

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, h)."""
        return (self.in_channels, self.input_size, self.input_size)

    @property
    def null_label(self) -> None:
        """There is no label that means "no class"; the authors have no guided form."""
        return None

    @property
    def label_dropout(self) -> float:
        return 0.0

    @property
    def side(self) -> int:
        """Tokens per side."""
        return self.input_size // self.patch_size


class TwoWayMixer(Mixer):
    """Mamba in both directions: what it projects is also read backwards through a second convolution and scan."""

    def __init__(self, width: int, state: int, conv: int, expand: int, rank: int) -> None:
        super().__init__(width, state, conv, expand, rank=rank)
        inner, rank = expand * width, self.dt_proj.in_features
        self.A_b_log = nn.Parameter(self.A_log.detach().clone())
        self.D_b = nn.Parameter(torch.ones(inner))
        self.conv1d_b = nn.Conv1d(inner, inner, conv, groups=inner)
        self.x_proj_b = nn.Linear(inner, rank + 2 * state, bias=False)
        self.dt_proj_b = StepProjection(rank, inner)
        init_step(self.dt_proj_b)

    def forward(self, x: Tensor) -> Tensor:
        x, z = self.in_proj(x).chunk(2, dim=-1)
        there = scanned(x, z, self.conv1d, self.x_proj, self.dt_proj, self.A_log, self.D)
        x, z = x.flip(1), z.flip(1)
        back = scanned(x, z, self.conv1d_b, self.x_proj_b, self.dt_proj_b, self.A_b_log, self.D_b)
        return self.out_proj(there + back.flip(1))


class ZigzagMixer(Mixer):
    """Mamba along path number `index` of the eight."""

    def __init__(self, config: Config, index: int) -> None:
        super().__init__(config.embed_dim, config.d_state, config.d_conv, config.expand, rank=config.dt_rank)
        self.register_buffer("path", torch.as_tensor(corner_paths("zigma", config.side)[index]), persistent=False)
        self.register_buffer("back", torch.as_tensor(_inverse(config.side, index)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, self.path])[:, self.back]


@cache
def _inverse(side: int, index: int) -> Any:
    return corner_paths("zigma", side)[index].argsort()


class TextAttention(nn.Module):
    """Multi-head attention of tokens (N, T, D) to a text (N, S, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = HEADS * HEAD_WIDTH
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, inner, bias=False) for _ in range(3))
        self.to_out = nn.Sequential(nn.Linear(inner, width))

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        (query,) = split_heads(self.to_q(x), 1, HEADS)
        (key,) = split_heads(self.to_k(text), 1, HEADS)
        (value,) = split_heads(self.to_v(text), 1, HEADS)
        return self.to_out(attend(query, key, value))


def norm(config: Config) -> nn.Module:
    return RmsNorm(config.embed_dim) if config.rms_norm else nn.LayerNorm(config.embed_dim)


class Block(nn.Module):
    """Adds what came to the residual; its norm, and on top of that the gated mixer, go on."""

    def __init__(self, config: Config, index: int) -> None:
        super().__init__()
        width = config.embed_dim
        if config.scan_type == "v2":
            self.mixer: Mixer = TwoWayMixer(width, config.d_state, config.d_conv, config.expand, config.dt_rank)
        else:
            self.mixer = ZigzagMixer(config, index % int(config.scan_type.removeprefix("zigzagN")))
        self.norm = norm(config)
        self.drop_rate = config.drop_path * max(0, index - 1) / max(1, config.depth - 1)
        self.adaLN_modulation = modulation(width, (6 if config.has_text else 3) * width)
        if config.has_text:
            self.msa = TextAttention(width)

    def forward(self, x: Tensor, residual: Tensor | None, c: Tensor, text: Tensor | None) -> tuple[Tensor, Tensor]:
        added = drop_path(x, self.drop_rate) if self.training else x
        residual = added.float() if residual is None else residual + added
        x = self.norm(residual).to(x.dtype)
        shift, scale, gate, *of_text = self.adaLN_modulation(c).chunk(3 if text is None else 6, dim=-1)
        x = gated(x, gate, self.mixer(modulate(x, shift, scale)))
        if text is not None:
            shift, scale, gate = of_text
            x = gated(x, gate, self.msa(modulate(plain_norm(x), shift, scale), text))
        return x, residual


class FinalLayer(nn.Module):
    """Norm and Linear."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(plain_norm(x))


class ZigMa(nn.Module):
    """forward(x (N, C, h, h), t (N,) in [0, 1], y) -> (N, C, h, h).

    y: labels (N,) or a text (N, S, d_context), where the network is told one.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width = config.embed_dim
        self.x_embedder = PatchEmbed(config.in_channels, width, config.patch_size)
        self.t_embedder = TimestepEmbedder(width)
        if config.has_text:
            self.y_embedder: nn.Module = nn.Linear(config.d_context, width)
        elif config.num_classes > 0:
            self.y_embedder = LabelEmbedder(config.num_classes, width, 0.0)
        if config.use_pe == 1:
            self.pos_embed = nn.Parameter(sincos_2d(width, config.side), requires_grad=False)
        elif config.use_pe == 2:
            self.pos_embed = nn.Parameter(torch.zeros(1, config.side**2, width))
        self.blocks = nn.ModuleList(Block(config, index) for index in range(config.depth))
        self.norm_f = norm(config)
        self.final_layer = FinalLayer(width, config.patch_size**2 * config.in_channels)
        self._initialise()

    def _initialise(self) -> None:
        """PyTorch's own with zero biases; what leaves a mixer the smaller the deeper the network; gates closed."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) and not isinstance(module, StepProjection) and module.bias is not None:
                nn.init.zeros_(module.bias)
            if name.endswith("mixer.out_proj"):
                nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5))
                with torch.no_grad():
                    module.weight /= math.sqrt(self.config.depth)
            if isinstance(module, nn.Embedding):
                initial.small(module)
        initial.flat_xavier(self.x_embedder.proj)
        initial.small(self.t_embedder.mlp[0], self.t_embedder.mlp[2])
        initial.zero(*(block.adaLN_modulation[1] for block in self.blocks))

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        config = self.config
        tokens = self.x_embedder(x)
        c, text = self.t_embedder(TIME_SCALE * t), None
        if config.has_text or config.num_classes > 0:
            if y is None:
                raise UsageError(f"this network was told no {'text' if config.has_text else 'class'}; give one per row")
            told = self.y_embedder(y)
            text = told if config.has_text else None
            c = c + (told.mean(1) if config.has_text else told)
        if config.use_pe in (1, 2):
            tokens = tokens + self.pos_embed
        residual = None
        for block in self.blocks:
            tokens, residual = block(tokens, residual, c, text)
        if self.training:
            tokens = drop_path(tokens, config.drop_path)
        tokens = self.norm_f(residual + tokens).to(tokens.dtype)
        return unpatchify(self.final_layer(tokens), config.patch_size)


def build(config: Config) -> ZigMa:
    return ZigMa(config)


def given(
    config: Config,
    rows: Sequence[int],
    device: str = "cpu",
    null: bool = False,
    labels: Callable[[int], int] | None = None,
) -> Given:
    """A random text or a class, where the network is told one."""
    if config.has_text:
        return {"y": random_rows(rows, (config.n_context_token, config.d_context), device)}
    return class_conditional(config, rows, device, null, labels) if config.num_classes > 0 else {}
