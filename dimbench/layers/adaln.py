"""Adaptive layer norm: a condition shifts, scales and gates tokens (N, T, D).

Peebles & Xie, arXiv 2212.09748, section 3.2. The SiLU stands before each Linear; the condition itself has none. A
condition is a vector for all tokens of an image, (N, D), or one for each token, (N, T, D).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.kernels import onednn

EPS = 1e-6

Norm = Callable[[int], nn.Module]
"""From a width to a norm over it."""

Modulation = Callable[[int, int], nn.Sequential]
"""From the widths of a condition and of what it becomes to a network."""


class VectorNetwork(nn.Sequential):
    """Layers for a vector of each image, whose weights are read for few rows; or for one of each token."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = onednn.of_few_rows(layer, x)
        return x


def modulation(width: int, outputs: int) -> nn.Sequential:
    """SiLU and Linear width -> outputs; the Linear is child "1", as in the official checkpoints."""
    return VectorNetwork(nn.SiLU(), nn.Linear(width, outputs))


def bare_modulation(width: int, outputs: int) -> nn.Sequential:
    """Linear alone, as child "0", for conditions that went through a SiLU before."""
    return VectorNetwork(nn.Linear(width, outputs))


def for_tokens(vector: Tensor) -> Tensor:
    """(N, D) as (N, 1, D); (N, T, D) and (N, C, 1, 1) as they are."""
    return vector[:, None] if vector.ndim == 2 else vector


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift of tokens (N, T, D), or of (N, C, h, w) by (N, C, 1, 1); in one pass over them."""
    return torch.addcmul(for_tokens(shift), x, 1 + for_tokens(scale))


def gated(x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
    """x + gate branch, as `modulate`."""
    return torch.addcmul(x, for_tokens(gate), branch)


def plain_norm(x: Tensor) -> Tensor:
    """Layer norm over features without gain or bias."""
    return F.layer_norm(x, x.shape[-1:], eps=EPS)


class PlainNorm(nn.Module):
    """`plain_norm`; has no weights, whatever the width."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return plain_norm(x)


class AdaLNZeroBlock(nn.Module):
    """The DiT block: attention and feed-forward network, each normed, modulated and gated by the condition. What the
    attention needs besides its tokens is handed through."""

    serving: ClassVar[Mapping[str, tuple[str, int]]] = {"attn": ("norm1", 2), "mlp": ("norm2", 5)}
    """By the branch the norm that nothing else reads, and which part of the modulation is its gate; the last part is
    one."""

    tokens_before: int = 0
    """How many tokens stand before the image's."""

    def __init__(
        self, width: int, attn: nn.Module, mlp: nn.Module, norm: Norm = PlainNorm, made: Modulation = modulation
    ) -> None:
        super().__init__()
        self.norm1 = norm(width)
        self.attn = attn
        self.norm2 = norm(width)
        self.mlp = mlp
        self.adaLN_modulation = made(width, 6 * width)

    def forward(self, x: Tensor, c: Tensor, *attended: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaLN_modulation(c).chunk(6, dim=-1)
        x = gated(x, gate_a, self.attn(modulate(self.norm1(x), shift_a, scale_a), *attended))
        return gated(x, gate_m, self.mlp(modulate(self.norm2(x), shift_m, scale_m)))


class AdaLNFinalLayer(nn.Module):
    """Norm, modulate, Linear: (N, T, D) -> (N, T, outputs)."""

    def __init__(self, width: int, outputs: int, norm: Norm = PlainNorm, made: Modulation = modulation) -> None:
        super().__init__()
        self.norm_final = norm(width)
        self.linear = nn.Linear(width, outputs)
        self.adaLN_modulation = made(width, 2 * width)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=-1)
        return self.linear(modulate(self.norm_final(x), shift, scale))
