"""Softmax attention over tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.layers.rope import rotate


def split_heads(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """(N, T, parts D) -> `parts` tensors (N, heads, T, D / heads); a head owns consecutive features."""
    batch, tokens, features = x.shape
    return x.reshape(batch, tokens, parts, heads, features // (parts * heads)).permute(2, 0, 3, 1, 4).unbind(0)


def attend(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None, mask: Tensor | None = None
) -> Tensor:
    """softmax(scale q k^T) v over (N, heads, T, d) -> (N, T, heads d); scale is 1 / sqrt(d) where None. A query sees
    the keys where `mask`, which broadcasts to (N, heads, T, S), is true."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Multi-head self-attention, (N, T, D) -> (N, T, D). `bias` is that of the queries, keys and values; `norm` is put
    over each head's features of queries and keys, before they are turned by `rotation` (see layers/rope.py)."""

    def __init__(
        self, width: int, heads: int, *, bias: bool = True, norm: Callable[[int], nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.q_norm = None if norm is None else norm(width // heads)
        self.k_norm = None if norm is None else norm(width // heads)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rotation: Tensor | None = None) -> Tensor:
        query, key, value = split_heads(self.qkv(x), 3, self.heads)
        if self.q_norm is not None and self.k_norm is not None:
            query, key = self.q_norm(query), self.k_norm(key)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        return self.proj(attend(query, key, value))


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
