"""Arguments to call a network with, where only their shapes matter."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Latents(Protocol):
    """A Config of a network on square latents."""

    @property
    def input_size(self) -> int: ...

    @property
    def in_channels(self) -> int: ...


def class_conditional(config: Latents, batch: int, device: str = "cpu") -> dict[str, Tensor]:
    """x standard normal (batch, C, h, h), t (batch,) of 0.5, y (batch,) of class 0."""
    return {
        "x": torch.randn(batch, config.in_channels, config.input_size, config.input_size, device=device),
        "t": torch.full((batch,), 0.5, device=device),
        "y": torch.zeros(batch, dtype=torch.long, device=device),
    }
