"""Softmax attention over tokens."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def split_heads(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """(N, T, parts D) -> `parts` tensors (N, heads, T, D / heads); a head owns consecutive features."""
    batch, tokens, features = x.shape
    return x.reshape(batch, tokens, parts, heads, features // (parts * heads)).permute(2, 0, 3, 1, 4).unbind(0)


def attend(query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None) -> Tensor:
    """softmax(scale q k^T) v over (N, heads, T, d) -> (N, T, heads d); scale is 1 / sqrt(d) where None."""
    return F.scaled_dot_product_attention(query, key, value, scale=scale).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Multi-head self-attention with biases, (N, T, D) -> (N, T, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(attend(*split_heads(self.qkv(x), 3, self.heads)))


class CrossAttention(nn.Module):
    """Multi-head attention of tokens (N, T, D) to a context (N, S, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        (query,) = split_heads(self.q(x), 1, self.heads)
        (key,) = split_heads(self.k(context), 1, self.heads)
        (value,) = split_heads(self.v(context), 1, self.heads)
        return self.proj(attend(query, key, value))
