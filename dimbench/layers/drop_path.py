"""Stochastic depth (Huang et al. 2016, arXiv 1603.09382)."""

from __future__ import annotations

import torch
from torch import Tensor


def drop_path(x: Tensor, rate: float) -> Tensor:
    """x (N, T, D) without the rows that chance drops at this rate, the others as much larger."""
    kept = torch.rand(x.shape[0], 1, 1, device=x.device) >= rate
    return x * kept / (1 - rate)
