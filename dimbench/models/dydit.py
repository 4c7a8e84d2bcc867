"""DyDiT (Zhao et al., arXiv 2410.03456): DiT that leaves out heads and channels by the time, tokens by their values.

The published code computes everything and masks it; here only what is kept is gathered and computed, with equal
results, unless `masked` asks for theirs. A count of shapes alone is that of everything kept, the upper bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import initial
from dimbench.layers.adaln import AdaLNFinalLayer, gated, modulate, modulation, plain_norm
from dimbench.layers.attention import attend, split_heads
from dimbench.layers.auxiliary import with_loss
from dimbench.layers.embed import LabelEmbedder, PatchEmbed, TimestepEmbedder, sincos_2d, unpatchify
from dimbench.layers.inputs import class_conditional
from dimbench.layers.mlp import Mlp
from dimbench.layers.sizes import check_sizes

Masks = tuple[Tensor, Tensor, Tensor]
"""1 where kept, else 0: heads (N, heads), groups of channels (N, groups), tokens (N, T, 1)."""

TEMPERATURE = 5.0  # of the decisions in training
RATIO_WEIGHT = 2.0
SURELY = 15.0  # bias of a fresh router, which keeps everything
TOKENS_SURELY = 35.0


@dataclass(frozen=True)
class Config:
    """`target` is the share of a block's work that training leads to. `masked` computes all and masks it."""

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
    target: float = 0.5
    masked: bool = False

    def __post_init__(self) -> None:
        check_sizes(self)
        if self.input_size < 1 or self.input_size % self.patch_size:
            raise UsageError(
                f"a latent of side {self.input_size} cannot be cut into patches of {self.patch_size}; give a "
                f"resolution whose latent side is a positive multiple of {self.patch_size}"
            )
        if self.hidden_size % 16 or self.hidden_size % self.num_heads or self.hidden % self.num_heads:
            raise UsageError(
                f"hidden_size {self.hidden_size} does not fit {self.num_heads} heads and groups of channels; give a "
                "multiple of 16 and of num_heads"
            )
        if not 0 < self.target <= 1:
            raise UsageError(f"target {self.target:g} is no share of the work; give more than 0 and at most 1")

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
    def hidden(self) -> int:
        return int(self.hidden_size * self.mlp_ratio)

    @property
    def side(self) -> int:
        return self.input_size // self.patch_size


class Rate(nn.Module):
    """Time (N, D) -> logits (N, groups - 1): group i + 1 is kept where logit i is above 0, and group 0 always."""

    optional = True  # learns by chance, in training alone

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, groups - 1)

    def forward(self, time: Tensor) -> Tensor:
        return self.router(time)


class TokenSelection(nn.Module):
    """Tokens (N, T, D) -> logits (N, T, 1): the feed-forward network is for those above 0."""

    optional = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp_head = nn.Sequential(nn.Linear(width, width // 16), nn.ReLU(), nn.Linear(width // 16, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp_head(x)


def decided(logits: Tensor, training: bool) -> Tensor:
    """1 where a logit is above 0, else 0. In training noise takes part and the gradient is that of a soft decision."""
    if not training:
        return (logits > 0).to(logits.dtype)
    uniform = torch.rand(2, *logits.shape, device=logits.device).clamp(min=torch.finfo(torch.float32).tiny)
    first, second = -torch.log(-torch.log(uniform))
    soft = torch.sigmoid((logits + first - second) / TEMPERATURE)
    return (soft > 0.5).to(soft) - soft.detach() + soft


def with_first(kept: Tensor) -> Tensor:
    """(N, groups - 1) -> (N, groups), the first being 1."""
    return F.pad(kept, (1, 0), value=1.0)


def kept_places(logits: Tensor) -> Tensor:
    """Which logits are above 0; all where there are only shapes."""
    return torch.arange(len(logits), device="meta") if logits.is_meta else (logits > 0).nonzero()[:, 0]


def kept_groups(logits: Tensor) -> Tensor:
    """The groups that the logits (groups - 1,) keep."""
    return kept_places(F.pad(logits, (1, 0), value=1.0))


class Attention(nn.Module):
    """Self-attention with all heads, those whose mask (N, heads) is 1, or the `heads` of these numbers alone."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None, heads: Tensor | None = None) -> Tensor:
        qkv, proj = self.qkv, self.proj.weight
        weight, bias, count = qkv.weight, qkv.bias, self.heads
        if heads is not None and len(heads) < count:
            split, count = (count, -1), len(heads)
            weight = weight.unflatten(0, (3, *split))[:, heads].flatten(0, 2)
            bias = bias.unflatten(0, (3, *split))[:, heads].flatten()
            proj = proj.unflatten(1, split)[:, heads].flatten(1)
        out = attend(*split_heads(F.linear(x, weight, bias), 3, count))
        if mask is not None:
            out = (out.unflatten(-1, (count, -1)) * mask[:, None, :, None]).flatten(-2)
        return F.linear(out, proj, self.proj.bias)


class GroupedMlp(Mlp):
    """A feed-forward network with all its hidden channels, with the groups whose mask (N, groups) is 1, or with the
    `chosen` groups alone."""

    def __init__(self, width: int, hidden: int, groups: int) -> None:
        super().__init__(width, hidden)
        self.groups = groups

    def forward(self, x: Tensor, mask: Tensor | None = None, chosen: Tensor | None = None) -> Tensor:
        weight, bias, back = self.fc1.weight, self.fc1.bias, self.fc2.weight
        split = (self.groups, -1)
        if chosen is not None and len(chosen) < self.groups:
            weight, bias = (part.unflatten(0, split)[chosen].flatten(0, 1) for part in (weight, bias))
            back = back.unflatten(1, split)[:, chosen].flatten(1)
        hidden = F.linear(x, weight, bias)
        if mask is not None:
            hidden = (hidden.unflatten(-1, split) * mask[:, None, :, None]).flatten(-2)
        return F.linear(F.gelu(hidden, approximate="tanh"), back, self.fc2.bias)


class Block(nn.Module):
    """The DiT block with its three routers."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, heads = config.hidden_size, config.num_heads
        self.attn = Attention(width, heads)
        self.mlp = GroupedMlp(width, config.hidden, heads)
        self.adaLN_modulation = modulation(width, 6 * width)
        self.attn_rate = Rate(width, heads)
        self.mlp_rate = Rate(width, heads)
        self.token_selection = TokenSelection(width)

    def forward(self, x: Tensor, c: Tensor, time: Tensor | None = None, masks: list[Masks] | None = None) -> Tensor:
        """DiT's block without `time`. With it what the routers keep, all rows having the first row's time; or, with a
        list for the `masks`, everything, then masked."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaLN_modulation(c).chunk(6, dim=-1)
        whole = modulate(plain_norm(x), shift_a, scale_a)
        if time is None:
            x = gated(x, gate_a, self.attn(whole))
            return gated(x, gate_m, self.mlp(modulate(plain_norm(x), shift_m, scale_m)))
        if masks is not None:
            heads = with_first(decided(self.attn_rate(time), self.training))
            groups = with_first(decided(self.mlp_rate(time), self.training))
            x = gated(x, gate_a, self.attn(whole, heads))
            tokens = decided(self.token_selection(x), self.training)
            masks.append((heads, groups, tokens))
            return gated(x, tokens * gate_m[:, None], self.mlp(modulate(plain_norm(x), shift_m, scale_m), groups))
        x = gated(x, gate_a, self.attn(whole, heads=kept_groups(self.attn_rate(time[:1])[0])))
        places = kept_places(self.token_selection(x).flatten())
        images, tokens = places // x.shape[1], x.flatten(0, 1)
        normed = plain_norm(tokens[places]) * (1 + scale_m[images]) + shift_m[images]
        update = gate_m[images] * self.mlp(normed, chosen=kept_groups(self.mlp_rate(time[:1])[0]))
        return tokens.index_add(0, places, update.to(x.dtype)).view_as(x)


class DyDiT(nn.Module):
    """forward(x (N, C, h, h), t (N,), y (N,)) -> (N, out_channels, h, h); with `complete` the routers are not asked,
    and it is trained so, too."""

    forms_in_training: tuple[dict[str, bool], ...] = ({}, {"complete": True})

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.x_embedder = PatchEmbed(config.in_channels, width, config.patch_size)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(config.num_classes, width, config.label_dropout)
        self.pos_embed = nn.Parameter(sincos_2d(width, config.side), requires_grad=False)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_layer = AdaLNFinalLayer(width, config.patch_size**2 * config.out_channels)
        self._initialise()

    def _initialise(self) -> None:
        """DiT's, and routers that keep everything."""
        initial.xavier(self)
        initial.flat_xavier(self.x_embedder.proj)
        initial.small(self.y_embedder.embedding_table, self.t_embedder.mlp[0], self.t_embedder.mlp[2])
        initial.zero(self.final_layer.linear)
        initial.zero(*(layer.adaLN_modulation[1] for layer in (*self.blocks, self.final_layer)))
        for block in self.blocks:
            nn.init.constant_(block.attn_rate.router.bias, SURELY)
            nn.init.constant_(block.mlp_rate.router.bias, SURELY)
            nn.init.constant_(block.token_selection.mlp_head[2].bias, TOKENS_SURELY)

    def forward(self, x: Tensor, t: Tensor, y: Tensor, complete: bool = False) -> Tensor:
        tokens = self.x_embedder(x) + self.pos_embed
        time = self.t_embedder(t)
        c = time + self.y_embedder(y)
        if complete:
            for block in self.blocks:
                tokens = block(tokens, c)
        elif self.training or self.config.masked:
            tokens = self._masked(tokens, c, time)
        else:
            tokens = self._gathered(tokens, c, time, t)
        return unpatchify(self.final_layer(tokens, c), self.config.patch_size)

    def _masked(self, tokens: Tensor, c: Tensor, time: Tensor) -> Tensor:
        """In training with the loss of the ratio."""
        masks: list[Masks] = []
        for block in self.blocks:
            tokens = block(tokens, c, time, masks)
        if self.training:
            off = torch.stack([kept_share(each, self.config) for each in masks]).mean() - self.config.target
            tokens = with_loss(tokens, RATIO_WEIGHT * off.square())
        return tokens

    def _gathered(self, tokens: Tensor, c: Tensor, time: Tensor, t: Tensor) -> Tensor:
        """One time after another, since a time decides which heads and channels are kept."""
        for rows in rows_of_times(t):
            part = tokens[rows]
            for block in self.blocks:
                part = block(part, c[rows], time[rows])
            tokens = tokens.index_copy(0, rows, part)
        return tokens


def rows_of_times(t: Tensor) -> list[Tensor]:
    """The rows of each time in t (N,); one time where there are only shapes."""
    if t.is_meta:
        return [torch.arange(len(t), device="meta")]
    times, which = t.unique(return_inverse=True)
    return [(which == place).nonzero()[:, 0] for place in range(len(times))]


def kept_share(masks: Masks, config: Config) -> Tensor:
    """The share of a block's attention and feed-forward products that its masks keep, on average over the batch."""
    heads, groups, tokens = masks
    count, width = config.side**2, config.hidden_size
    attention = 4 * count * width**2 + 2 * count**2 * width
    feed_forward = 2 * count * width * config.hidden
    kept = heads.mean(1) * attention + groups.mean(1) * tokens.mean((1, 2)) * feed_forward
    return (kept / (attention + feed_forward)).mean()


def build(config: Config) -> DyDiT:
    return DyDiT(config)


given = class_conditional
