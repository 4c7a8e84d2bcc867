"""The noise of a run: that of sample k depends on the seed and on k alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class SampleNoise:
    """noise(k, shape): one generator per sample, seeded by the run's seed and the sample's index in `rows`.

    Drawn on the CPU, so that every device sees the same; on the meta device it has a shape alone.
    """

    def __init__(self, seed: int, rows: Sequence[int], device: str = "cpu") -> None:
        self.rows = rows
        self.device = device
        self.generators = [torch.Generator().manual_seed(mixed(seed, row)) for row in rows]

    def __call__(self, k: int, shape: tuple[int, ...]) -> Tensor:
        if self.device == "meta":
            return torch.empty(shape, device="meta")
        draws = [torch.randn(shape[1:], generator=generator) for generator in self.generators]
        return torch.stack(draws).to(self.device)


def mixed(seed: int, index: int) -> int:
    """A 63-bit seed that no other pair of small numbers has: splitmix64's finaliser over both."""
    state = (seed * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> shift)) * factor % 2**64
    return (state ^ (state >> 31)) >> 1
