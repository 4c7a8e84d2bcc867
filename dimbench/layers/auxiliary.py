"""Losses that a network adds to its own training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _WithLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, loss: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        return gradients[0], torch.ones((), device=gradients[0].device)


def with_loss(x: Tensor, loss: Tensor) -> Tensor:
    """x as it is. Whatever is minimised behind it, the scalar `loss` is minimised too, with weight 1."""
    return _WithLoss.apply(x, loss)
