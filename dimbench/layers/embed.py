"""From images, times and labels to vectors, and back to images."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn


def sincos_2d(width: int, side: int, spacing: float = 1.0) -> Tensor:
    """The position table (1, side^2, width) of DiT: per token [sin(j w), cos(j w), sin(i w), cos(i w)], float32.

    Token i*side + j stands in row i and column j, `spacing` apart; the column comes first. w_k = 10000^(-k/(width/4)).
    """
    quarter = width // 4
    frequencies = 10000.0 ** -(np.arange(quarter, dtype=np.float64) / quarter)
    angles = spacing * np.arange(side, dtype=np.float64)[:, None] * frequencies
    code = torch.as_tensor(np.concatenate([np.sin(angles), np.cos(angles)], axis=1), dtype=torch.float32)
    columns, rows = code.expand(side, -1, -1), code[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], dim=-1).reshape(1, side**2, width)


def sinusoid(t: Tensor, width: int, period: float = 10000) -> Tensor:
    """(N,) times -> (N, width) features [cos(t f), sin(t f)], f_k = exp(-ln(period) k / (width/2)).

    All in float32 and in this order of operations: near t = 1000 one ulp of f_k moves the argument by 6e-5.
    """
    half = width // 2
    k = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t.float()[:, None] * torch.exp(-math.log(period) * k / half)
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)


def tokens_of(grid: Tensor) -> Tensor:
    """(N, D, ...) -> (N, T, D), the features of a token side by side in memory: sums keep the layout of their first
    operand, and each norm of a network would copy another."""
    return grid.flatten(2).transpose(1, 2).contiguous()


class PatchEmbed(nn.Module):
    """Patches of side `patch` as tokens: (N, C, h, w) -> (N, h w / patch^2, width), row-major."""

    def __init__(self, in_channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, width, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return tokens_of(self.proj(x))


class BottleneckPatchEmbed(nn.Module):
    """`PatchEmbed` as a product of two matrices of rank `rank` (Li & He 2025, arXiv 2511.13720); `bias` is that of the
    first."""

    def __init__(self, in_channels: int, width: int, patch: int, rank: int, *, bias: bool) -> None:
        super().__init__()
        self.proj1 = nn.Conv2d(in_channels, rank, kernel_size=patch, stride=patch, bias=bias)
        self.proj2 = nn.Conv2d(rank, width, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        return tokens_of(self.proj2(self.proj1(x)))


def unpatchify(tokens: Tensor, patch: int, rows: int | None = None) -> Tensor:
    """(N, T, patch^2 C) tokens, channel fastest, of a grid of so many `rows` (square where None) -> (N, C, h, w)."""
    batch, count, features = tokens.shape
    rows = math.isqrt(count) if rows is None else rows
    columns, channels = count // rows, features // patch**2
    grid = tokens.reshape(batch, rows, columns, patch, patch, channels)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, rows * patch, columns * patch)


class TimestepEmbedder(nn.Module):
    """(N,) times, taken as they are -> (N, width)."""

    features = 256

    def __init__(self, width: int, period: float = 10000) -> None:
        super().__init__()
        self.period = period
        self.mlp = nn.Sequential(nn.Linear(self.features, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(sinusoid(t, self.features, self.period).to(self.mlp[0].weight.dtype))


def dropped(y: Tensor, null: int, probability: float) -> Tensor:
    """Labels (N,), each replaced by `null` with that probability."""
    return torch.where(torch.rand(y.shape, device=y.device) < probability, null, y)


class LabelEmbedder(nn.Module):
    """(N,) labels -> (N, width). With dropout > 0 the table has one more row, `num_classes`, that means "no class"; in
    training each label becomes it with that probability."""

    def __init__(self, num_classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.dropout = max(0.0, dropout)
        self.embedding_table = nn.Embedding(num_classes + (self.dropout > 0), width)

    def forward(self, y: Tensor) -> Tensor:
        if self.training and self.dropout > 0:
            y = dropped(y, self.num_classes, self.dropout)
        return self.embedding_table(y)
