"""Adaptive layer norm: a condition vector (N, D) shifts, scales and gates tokens (N, T, D).

Peebles & Xie, arXiv 2212.09748, section 3.2. The SiLU stands before each Linear; the condition itself has none.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6


def modulation(width: int, outputs: int) -> nn.Sequential:
    """SiLU and Linear width -> outputs; the Linear is child "1", as in the official checkpoints."""
    return nn.Sequential(nn.SiLU(), nn.Linear(width, outputs))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift, with shift and scale (N, D) the same for all tokens."""
    return x * (1 + scale[:, None]) + shift[:, None]


def plain_norm(x: Tensor) -> Tensor:
    """Layer norm over features without gain or bias."""
    return F.layer_norm(x, x.shape[-1:], eps=EPS)


class AdaLNZeroBlock(nn.Module):
    """The DiT block: attention and feed-forward network, each normed, modulated and gated by the condition."""

    def __init__(self, width: int, attn: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.attn = attn
        self.mlp = mlp
        self.adaLN_modulation = modulation(width, 6 * width)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaLN_modulation(c).chunk(6, dim=-1)
        x = x + gate_a[:, None] * self.attn(modulate(plain_norm(x), shift_a, scale_a))
        return x + gate_m[:, None] * self.mlp(modulate(plain_norm(x), shift_m, scale_m))


class AdaLNFinalLayer(nn.Module):
    """Norm, modulate, Linear: (N, T, D) -> (N, T, outputs)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, outputs)
        self.adaLN_modulation = modulation(width, 2 * width)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=-1)
        return self.linear(modulate(plain_norm(x), shift, scale))
