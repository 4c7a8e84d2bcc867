"""U-ViT (Bao et al., All are Worth Words, arXiv 2209.12152): time and class as tokens among the patches, long skips
between the halves of the blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers.attention import SelfAttention
from dimbench.layers.embed import PatchEmbed, dropped, sinusoid, unpatchify
from dimbench.layers.inputs import Given, class_conditional, random_rows
from dimbench.layers.mlp import Mlp
from dimbench.layers.sizes import check_sizes

_norm = partial(nn.LayerNorm, eps=1e-5)


@dataclass(frozen=True)
class Config:
    """`depth` blocks lie in the two halves and one between them. `num_classes` 0 leaves the class token out. With
    `clip_dim` the network is told `num_clip_token` text tokens of that width instead of a class. `conv` is a
    convolution over the image that comes out."""

    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    embed_dim: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    qkv_bias: bool = False
    mlp_time_embed: bool = False
    num_classes: int = 1000
    label_dropout: float = 0.1
    conv: bool = True
    clip_dim: int = 0
    num_clip_token: int = 77

    def __post_init__(self) -> None:
        check_sizes(self, ("num_classes", "clip_dim"))
        if self.input_size < 1 or self.input_size % self.patch_size:
            raise UsageError(
                f"an image of side {self.input_size} cannot be cut into patches of {self.patch_size}; give a positive "
                f"multiple of {self.patch_size}"
            )
        if self.embed_dim % (2 * self.num_heads):
            raise UsageError(
                f"embed_dim {self.embed_dim} does not fit {self.num_heads} heads; give a multiple of "
                f"{2 * self.num_heads}"
            )
        if self.depth < 2 or self.depth % 2:
            raise UsageError(f"depth {self.depth} has no two halves; give an even number of at least 2")
        if self.clip_dim and self.num_classes:
            raise UsageError(
                f"U-ViT is told text or classes, not both: clip_dim {self.clip_dim} and num_classes {self.num_classes} "
                "were given; set one to 0"
            )

    @property
    def state(self) -> tuple[int, int, int]:
        """The shape of one sample, (C, h, h)."""
        return (self.in_channels, self.input_size, self.input_size)

    @property
    def null_label(self) -> int | None:
        """The label that means "no class", or None where the table has no such row."""
        return self.num_classes if self.label_dropout > 0 and not self.clip_dim else None

    @property
    def side(self) -> int:
        """Patches per side."""
        return self.input_size // self.patch_size

    @property
    def extras(self) -> int:
        """Tokens before the patches."""
        return 1 + (self.num_clip_token if self.clip_dim else int(self.num_classes > 0))


class Block(nn.Module):
    """A pre-norm transformer block; with `skip` what an earlier block put out is joined to its input."""

    def __init__(self, config: Config, skip: bool = False) -> None:
        super().__init__()
        width = config.embed_dim
        self.tokens_before = config.extras
        self.skip_linear = nn.Linear(2 * width, width) if skip else None
        self.norm1 = _norm(width)
        self.attn = SelfAttention(width, config.num_heads, bias=config.qkv_bias)
        self.norm2 = _norm(width)
        self.mlp = Mlp(width, int(width * config.mlp_ratio), exact=True)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        if self.skip_linear is not None and skip is not None:
            x = self.skip_linear(torch.cat([x, skip], dim=-1))
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class UViT(nn.Module):
    """forward(x (N, C, h, h), t (N,), y (N,) or context (N, 77, clip_dim)) -> the noise (N, C, h, h)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, half = config.embed_dim, config.depth // 2
        self.patch_embed = PatchEmbed(config.in_channels, width, config.patch_size)
        self.time_embed = (
            nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
            if config.mlp_time_embed
            else nn.Identity()
        )
        if config.num_classes:
            self.label_emb = nn.Embedding(config.num_classes + (config.label_dropout > 0), width)
        if config.clip_dim:
            self.context_embed = nn.Linear(config.clip_dim, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.extras + config.side**2, width))
        self.in_blocks = nn.ModuleList(Block(config) for _ in range(half))
        self.mid_block = Block(config)
        self.out_blocks = nn.ModuleList(Block(config, skip=True) for _ in range(half))
        self.norm = _norm(width)
        self.decoder_pred = nn.Linear(width, config.patch_size**2 * config.in_channels)
        channels = config.in_channels
        self.final_layer = nn.Conv2d(channels, channels, 3, padding=1) if config.conv else nn.Identity()
        self._initialise()

    def _initialise(self) -> None:
        """Convolutions and the class table keep torch's own start."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def inner(self, level: int) -> tuple[list[nn.Module], nn.Module]:
        """The blocks within the `level` outermost of both sides but the last, and the last."""
        within = [*self.in_blocks[level:], self.mid_block, *self.out_blocks[: max(0, len(self.out_blocks) - level)]]
        return within[:-1], within[-1]

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        patches = self.patch_embed(x)
        time = self.time_embed(sinusoid(t, self.config.embed_dim).to(patches.dtype))[:, None]
        tokens = self._sequence(patches, time, y, context) + self.pos_embed
        skips = []
        for block in self.in_blocks:
            tokens = block(tokens)
            skips.append(tokens)
        tokens = self.mid_block(tokens)
        for block in self.out_blocks:
            tokens = block(tokens, skips.pop())
        output = self.decoder_pred(self.norm(tokens))[:, self.config.extras :]
        return self.final_layer(unpatchify(output, self.config.patch_size))

    def _sequence(self, patches: Tensor, time: Tensor, y: Tensor | None, context: Tensor | None) -> Tensor:
        """A class stands before the time, a text behind it."""
        config = self.config
        if config.clip_dim:
            if context is None or context.shape[1:] != (config.num_clip_token, config.clip_dim):
                given = "none" if context is None else f"one of shape {tuple(context.shape)}"
                raise UsageError(
                    f"this U-ViT is told a text of {config.num_clip_token} tokens of width {config.clip_dim}, and was "
                    f"given {given}; give it as context"
                )
            return torch.cat([time, self.context_embed(context), patches], dim=1)
        if not config.num_classes:
            return torch.cat([time, patches], dim=1)
        if y is None:
            raise UsageError("this U-ViT is told a class, and was given none; give labels as y")
        if self.training and config.label_dropout > 0:
            y = dropped(y, config.num_classes, config.label_dropout)
        return torch.cat([self.label_emb(y)[:, None], time, patches], dim=1)


def build(config: Config) -> UViT:
    return UViT(config)


def given(
    config: Config,
    rows: Sequence[int],
    device: str = "cpu",
    null: bool = False,
    labels: Callable[[int], int] | None = None,
) -> Given:
    """A class, a random text, or nothing."""
    if config.num_classes:
        return class_conditional(config, rows, device, null, labels)
    if config.clip_dim:
        return {"context": random_rows(rows, (config.num_clip_token, config.clip_dim), device, null)}
    if null:
        raise UsageError("this U-ViT is told nothing and cannot be guided; leave out --cfg")
    return {}
