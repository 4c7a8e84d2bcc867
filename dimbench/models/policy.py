"""Diffusion Policy's transformer (Chi et al., arXiv 2303.04137): a sequence of actions, told what was observed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.errors import UsageError
from dimbench.layers import initial
from dimbench.layers.attention import attend, split_heads
from dimbench.layers.inputs import Given, random_rows
from dimbench.layers.sizes import check_sizes


@dataclass(frozen=True)
class Config:
    """`input_size` is the number of actions in a row, each of `input_dim` numbers; `n_obs_steps` observations of
    `cond_dim` are told. `causal_attn`: no action sees later ones, nor observations of later steps."""

    input_size: int = 16
    input_dim: int = 2
    cond_dim: int = 20
    n_obs_steps: int = 2
    n_layer: int = 8
    n_head: int = 4
    n_emb: int = 256
    causal_attn: bool = True
    p_drop_emb: float = 0.0
    p_drop_attn: float = 0.01

    def __post_init__(self) -> None:
        check_sizes(self)
        if self.input_size < 1:
            raise UsageError(f"{self.input_size} actions are no plan; give at least 1")
        if self.n_emb < 4 or self.n_emb % 2 or self.n_emb % self.n_head:
            raise UsageError(
                f"n_emb {self.n_emb} does not fit {self.n_head} heads; give an even multiple of n_head of at least 4"
            )

    @property
    def state(self) -> tuple[int, int]:
        """The shape of one sample, (steps, actions)."""
        return (self.input_size, self.input_dim)


def sinusoid(t: Tensor, width: int) -> Tensor:
    """(N,) times -> (N, width) features [sin(t f), cos(t f)], f_k = 10000^(-k / (width/2 - 1))."""
    half = width // 2
    frequencies = torch.exp(-math.log(10000) / (half - 1) * torch.arange(half, dtype=torch.float32, device=t.device))
    angles = t.float()[:, None] * frequencies
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1)


class Attention(nn.Module):
    """Multi-head attention of tokens (N, T, D) to a memory (N, S, D), with the names that PyTorch gives its weights."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        width = x.shape[-1]
        weight, bias = self.in_proj_weight, self.in_proj_bias
        (query,) = split_heads(F.linear(x, weight[:width], bias[:width]), 1, self.heads)
        key, value = split_heads(F.linear(memory, weight[width:], bias[width:]), 2, self.heads)
        return self.out_proj(attend(query, key, value, mask=mask))


class Layer(nn.Module):
    """Attention among the actions, attention to what was observed, feed-forward network; each after a norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.n_emb
        self.self_attn = Attention(width, config.n_head)
        self.multihead_attn = Attention(width, config.n_head)
        self.linear1 = nn.Linear(width, 4 * width)
        self.linear2 = nn.Linear(4 * width, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(config.p_drop_attn)

    def forward(self, x: Tensor, memory: Tensor, earlier: Tensor | None, observed: Tensor | None) -> Tensor:
        normed = self.norm1(x)
        x = x + self.drop(self.self_attn(normed, normed, earlier))
        x = x + self.drop(self.multihead_attn(self.norm2(x), memory, observed))
        return x + self.drop(self.linear2(self.drop(F.gelu(self.linear1(self.norm3(x))))))


class Policy(nn.Module):
    """forward(x (N, steps, actions), t (N,), cond (N, n_obs_steps, cond_dim)) -> (N, steps, actions)."""

    mask: Tensor | None
    memory_mask: Tensor | None

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, steps, told = config.n_emb, config.input_size, 1 + config.n_obs_steps
        self.input_emb = nn.Linear(config.input_dim, width)
        self.pos_emb = nn.Parameter(torch.empty(1, steps, width))
        self.cond_obs_emb = nn.Linear(config.cond_dim, width)
        self.cond_pos_emb = nn.Parameter(torch.empty(1, told, width))
        self.drop = nn.Dropout(config.p_drop_emb)
        self.encoder = nn.Sequential(nn.Linear(width, 4 * width), nn.Mish(), nn.Linear(4 * width, width))
        self.decoder = nn.Module()
        self.decoder.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.input_dim)
        step, source = torch.arange(steps)[:, None], torch.arange(max(steps, told))
        # the first of what is told is the time, which every step sees
        masks = (step >= source[:steps], step >= source[:told] - 1) if config.causal_attn else (None, None)
        for name, seen in zip(("mask", "memory_mask"), masks, strict=True):
            self.register_buffer(name, seen, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        """Every matrix and both tables of N(0, 0.02^2), biases zero."""
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=initial.SMALL)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        time = sinusoid(t, self.config.n_emb).to(x.dtype)[:, None]
        memory = self.encoder(self.drop(torch.cat([time, self.cond_obs_emb(cond)], dim=1) + self.cond_pos_emb))
        tokens = self.drop(self.input_emb(x) + self.pos_emb)
        for layer in self.decoder.layers:
            tokens = layer(tokens, memory, self.mask, self.memory_mask)
        return self.head(self.ln_f(tokens))


def build(config: Config) -> Policy:
    return Policy(config)


def fit_checkpoint(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The weights without what the official network computes for itself, and its parameter without an element."""
    return {name: tensor for name, tensor in state.items() if name not in ("mask", "memory_mask", "_dummy_variable")}


def given(config: Config, rows: Sequence[int], device: str = "cpu", null: bool = False) -> Given:
    """Random observations. UsageError where they should be left out: the network always has some."""
    if null:
        raise UsageError("a policy always knows what it observed and cannot be guided; leave out --cfg")
    return {"cond": random_rows(rows, (config.n_obs_steps, config.cond_dim), device)}
