"""The Mamba mixer (Gu & Dao, arXiv 2312.00752, figure 3) over a sequence in scan order."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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

    With `condition` > 0 it carries `cond_proj`, the projection of a condition of that width whose result the official
    DiMSUM kernel overwrites unread.
    """

    def __init__(self, width: int, state: int = 16, conv: int = 4, expand: int = 2, condition: int = 0) -> None:
        super().__init__()
        inner = expand * width
        self.state = state
        self.rank = math.ceil(width / 16)
        self.A_log = nn.Parameter(torch.log(torch.arange(1, state + 1, dtype=torch.float32)).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, conv, groups=inner)  # holds the weights; `causal_conv` runs them
        self.x_proj = nn.Linear(inner, self.rank + 2 * state, bias=False)
        self.dt_proj = StepProjection(self.rank, inner)
        if condition:
            self.cond_proj = UnreadLinear(condition, inner)
        self.out_proj = nn.Linear(inner, width, bias=False)
        self._init_step()

    def _init_step(self) -> None:
        """Steps between 0.001 and 0.1, log-uniform, as softplus will see them."""
        nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5)
        low, high = math.log(0.001), math.log(0.1)
        step = torch.exp(torch.rand(self.dt_proj.out_features) * (high - low) + low).clamp(min=1e-4)
        with torch.no_grad():
            self.dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))

    def forward(self, x: Tensor) -> Tensor:
        x, z = self.in_proj(x).chunk(2, dim=-1)  # each (N, L, E)
        u = causal_conv(x, self.conv1d.weight[:, 0], self.conv1d.bias)
        step, B, C = self.x_proj(u).split([self.rank, self.state, self.state], dim=-1)
        A = -torch.exp(self.A_log.float())
        return self.out_proj(selective_scan(u, self.dt_proj(step), A, B, C, self.D, z, self.dt_proj.bias))
