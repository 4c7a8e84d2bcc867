"""Token-wise feed-forward networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.kernels import onednn


class Mlp(nn.Module):
    """Linear, GELU (its tanh form unless `exact`), Linear."""

    def __init__(self, width: int, hidden: int, *, exact: bool = False) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.approximate = "none" if exact else "tanh"

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(onednn.gelu_of(self.fc1, x, self.approximate))


class GatedMlp(nn.Module):
    """Linear to two halves, the first through a tanh GELU times the second, Linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        halves = onednn.halves_of(self.w12, x)
        return self.w3(self.combine(*halves, inplace=onednn.is_unseen(self.w12, x)))

    def combine(self, gate: Tensor, value: Tensor, *, inplace: bool) -> Tensor:
        """The gated value; with `inplace` it may take the gate's place."""
        if inplace:
            return onednn.gelu_(gate, approximate="tanh").mul_(value)
        return F.gelu(gate, approximate="tanh") * value


class SwiGlu(GatedMlp):
    """`GatedMlp` with SiLU (Shazeer 2020, arXiv 2002.05202)."""

    def combine(self, gate: Tensor, value: Tensor, *, inplace: bool) -> Tensor:
        return F.silu(gate, inplace=True).mul_(value) if inplace else F.silu(gate) * value


bare_linear = partial(nn.Linear, bias=False)


class BareSwiGlu(nn.Module):
    """SwiGLU of three layers, which `linear` makes, without biases."""

    def __init__(self, width: int, hidden: int, linear: Callable[[int, int], nn.Module] = bare_linear) -> None:
        super().__init__()
        self.w1 = linear(width, hidden)
        self.w2 = linear(hidden, width)
        self.w3 = linear(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))
