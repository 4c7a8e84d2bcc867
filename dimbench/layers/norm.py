"""Norms with weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RMS_EPS = 1e-5


class RmsNorm(nn.Module):
    """x / sqrt(mean(x^2) + 1e-5) times a gain over the last axis, in the type of x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), eps=RMS_EPS)
