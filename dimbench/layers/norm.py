"""Norms with weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RMS_EPS = 1e-5


class RmsNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) times a gain over the last axis, in the type of x."""

    def __init__(self, width: int, eps: float = RMS_EPS) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), eps=self.eps)


def fine_rms_norm(width: int) -> RmsNorm:
    """The norm of most transformers on images, with 1e-6."""
    return RmsNorm(width, 1e-6)
