"""Products that are symmetric, of which only one half need be computed."""

from __future__ import annotations

import torch
from torch import Tensor


def gram(x: Tensor) -> Tensor:
    """x x^T (N, N) of a matrix (N, D) on the CPU: numpy knows the product for symmetric, torch computes both halves."""
    rows = x.numpy()
    return torch.from_numpy(rows @ rows.T)
