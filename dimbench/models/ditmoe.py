"""DiT-MoE (Fei et al., arXiv 2407.11633): DiT whose feed-forward networks are a shared expert and routed ones.

Every token runs the same number of experts, whichever the router chooses: a count of shapes alone is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import initial
from dimbench.layers.adaln import EPS, AdaLNFinalLayer, gated, modulate, modulation, plain_norm
from dimbench.layers.attention import SelfAttention, attend, split_heads
from dimbench.layers.auxiliary import with_loss
from dimbench.layers.embed import LabelEmbedder, PatchEmbed, TimestepEmbedder, sincos_2d, unpatchify
from dimbench.layers.inputs import class_conditional
from dimbench.layers.sizes import check_sizes

BALANCE = 0.01  # weight of the balancing loss
SHARED = 2  # width of the shared expert in widths of the network


@dataclass(frozen=True)
class Config:
    """Of `num_experts` routed experts each token runs `num_experts_per_tok`. `qk_norm` is the attention of the XL and G
    models, with other names; `keep_sigma` false returns only the first `in_channels` outputs, as they use them."""

    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: int = 4
    num_experts: int = 8
    num_experts_per_tok: int = 2
    num_classes: int = 1000
    label_dropout: float = 0.1
    learn_sigma: bool = True
    keep_sigma: bool = True
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
        if not 1 <= self.num_experts_per_tok <= self.num_experts:
            raise UsageError(
                f"num_experts_per_tok {self.num_experts_per_tok} cannot be chosen of {self.num_experts} experts; give "
                f"1 to {self.num_experts}"
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


class Expert(nn.Module):
    """SwiGLU without biases."""

    optional = True  # inputs that choose others neither run nor teach it

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Gate(nn.Module):
    """(T, D) -> the scores (T, E) of every expert, which sum to 1."""

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight).softmax(dim=-1)


class Experts(nn.Module):
    """(N, T, D) -> (N, T, D): the shared expert, and the chosen ones by their scores, which are not scaled to sum to 1.

    Tokens are sorted by expert, so that each expert is one product over its own tokens and no other.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.hidden_size
        self.chosen = config.num_experts_per_tok
        self.experts = nn.ModuleList(Expert(width, config.mlp_ratio * width) for _ in range(config.num_experts))
        self.gate = Gate(width, config.num_experts)
        self.shared_experts = Expert(width, SHARED * width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, 1)
        scores = self.gate(tokens)
        weights, choice = scores.topk(self.chosen, dim=-1)
        by_expert = choice.flatten().argsort(stable=True)
        rows = by_expert // self.chosen
        parts = tokens[rows].split(self._loads(choice))
        results = torch.cat([expert(part) for expert, part in zip(self.experts, parts, strict=True)])
        routed = results * weights.flatten()[by_expert, None]
        mixed = self.shared_experts(tokens).index_add(0, rows, routed.to(x.dtype))
        if self.training:
            mixed = with_loss(mixed, balancing_loss(scores, choice))
        return mixed.view_as(x)

    def _loads(self, choice: Tensor) -> list[int]:
        """How many tokens each expert has; shapes alone do not say, and then all have as many."""
        count = len(self.experts)
        if choice.is_meta:
            return [len(part) for part in torch.empty(choice.numel(), device="meta").tensor_split(count)]
        return choice.flatten().bincount(minlength=count).tolist()


def balancing_loss(scores: Tensor, choice: Tensor) -> Tensor:
    """0.01 times the sum over experts of mean score times E times the share of the choices (equation 4)."""
    experts = scores.shape[-1]
    share = F.one_hot(choice.flatten(), experts).float().mean(0)
    return BALANCE * (scores.mean(0) * experts * share).sum()


class NormedAttention(nn.Module):
    """Self-attention whose queries and keys are normed per head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.Wqkv = nn.Linear(width, 3 * width)
        self.q_norm = nn.LayerNorm(width // heads, eps=EPS)
        self.k_norm = nn.LayerNorm(width // heads, eps=EPS)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = split_heads(self.Wqkv(x), 3, self.heads)
        return self.out_proj(attend(self.q_norm(query), self.k_norm(key), value))


class Block(nn.Module):
    """The DiT block with experts."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        attention = NormedAttention if config.qk_norm else SelfAttention
        self.attn = attention(config.hidden_size, config.num_heads)
        self.moe = Experts(config)
        self.adaLN_modulation = modulation(config.hidden_size, 6 * config.hidden_size)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaLN_modulation(c).chunk(6, dim=-1)
        x = gated(x, gate_a, self.attn(modulate(plain_norm(x), shift_a, scale_a)))
        return gated(x, gate_m, self.moe(modulate(plain_norm(x), shift_m, scale_m)))


class DiTMoE(nn.Module):
    """forward(x (N, C, h, h), t (N,), y (N,)) -> (N, out_channels, h, h), or (N, C, h, h) without `keep_sigma`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.x_embedder = PatchEmbed(config.in_channels, width, config.patch_size)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(config.num_classes, width, config.label_dropout)
        self.pos_embed = nn.Parameter(sincos_2d(width, config.input_size // config.patch_size), requires_grad=False)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_layer = AdaLNFinalLayer(width, config.patch_size**2 * config.out_channels)
        self._initialise()

    def _initialise(self) -> None:
        """DiT's: Xavier, every block the identity, zero output; the gates uniform, within 1 / sqrt(width)."""
        initial.xavier(self)
        initial.flat_xavier(self.x_embedder.proj)
        initial.small(self.y_embedder.embedding_table, self.t_embedder.mlp[0], self.t_embedder.mlp[2])
        for block in self.blocks:
            nn.init.kaiming_uniform_(block.moe.gate.weight, a=5**0.5)
        initial.zero(self.final_layer.linear)
        initial.zero(*(layer.adaLN_modulation[1] for layer in (*self.blocks, self.final_layer)))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        tokens = self.x_embedder(x) + self.pos_embed
        c = self.t_embedder(t) + self.y_embedder(y)
        for block in self.blocks:
            tokens = block(tokens, c)
        image = unpatchify(self.final_layer(tokens, c), self.config.patch_size)
        return image if self.config.keep_sigma else image[:, : self.config.in_channels]


def build(config: Config) -> DiTMoE:
    return DiTMoE(config)


given = class_conditional
