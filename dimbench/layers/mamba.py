"""The Mamba mixer (Gu & Dao, arXiv 2312.00752, figure 3) over a sequence in scan order."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.kernels import onednn
from dimbench.kernels.causal_conv import causal_conv
from dimbench.kernels.selective_scan import selective_scan


class StepProjection(nn.Linear):
    """dt_proj: its bias is added inside the scan, in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


class UnreadLinear(nn.Linear):
    """Weights that official checkpoints carry though nothing reads their product: kept, never run.

    `dead_macs` is what the official code spends on it for one image.
    """

    @property
    def dead_macs(self) -> int:
        return self.in_features * self.out_features


class Mixer(nn.Module):
    """(N, L, width) -> (N, L, width): in_proj, causal convolution, selective scan, gate, out_proj.

    `rank` is that of the step's projection, a sixteenth of the width where 0. With `condition` > 0 it carries
    `cond_proj`, the projection of a condition of that width whose result the official DiMSUM kernel overwrites unread.
    """

    def __init__(
        self, width: int, state: int = 16, conv: int = 4, expand: int = 2, condition: int = 0, rank: int = 0
    ) -> None:
        super().__init__()
        inner, rank = expand * width, rank or math.ceil(width / 16)
        self.A_log = nn.Parameter(torch.log(torch.arange(1, state + 1, dtype=torch.float32)).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, conv, groups=inner)  # holds the weights; `causal_conv` runs them
        self.x_proj = nn.Linear(inner, rank + 2 * state, bias=False)
        self.dt_proj = StepProjection(rank, inner)
        if condition:
            self.cond_proj = UnreadLinear(condition, inner)
        self.out_proj = nn.Linear(inner, width, bias=False)
        init_step(self.dt_proj)

    def forward(self, x: Tensor) -> Tensor:
        x, z = onednn.halves_of(self.in_proj, x)  # each (N, L, E)
        return self.out_proj(scanned(x, z, self.conv1d, self.x_proj, self.dt_proj, self.A_log, self.D))


def init_step(projection: nn.Linear) -> None:
    """Steps between 0.001 and 0.1, log-uniform, as softplus will see them."""
    bound = projection.in_features**-0.5
    nn.init.uniform_(projection.weight, -bound, bound)
    low, high = math.log(0.001), math.log(0.1)
    step = torch.exp(torch.rand(projection.out_features) * (high - low) + low).clamp(min=1e-4)
    with torch.no_grad():
        projection.bias.copy_(step + torch.log(-torch.expm1(-step)))


def scanned(
    x: Tensor, z: Tensor, conv: nn.Conv1d, x_proj: nn.Linear, dt_proj: nn.Linear, A_log: Tensor, D: Tensor
) -> Tensor:
    """x (N, L, E) through convolution and scan, gated by z: (N, L, E)."""
    u = causal_conv(x, conv.weight[:, 0], conv.bias)
    states = A_log.shape[1]
    step, B, C = x_proj(u).split([dt_proj.in_features, states, states], dim=-1)
    return selective_scan(u, dt_proj(step), -torch.exp(A_log.float()), B, C, D, z, dt_proj.bias)
