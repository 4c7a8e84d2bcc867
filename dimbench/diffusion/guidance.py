"""Classifier-free guidance as a wrapper around a network (Ho and Salimans 2022, arXiv 2207.12598, equation 6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from dimbench.errors import DimbenchError

ConditionedNetwork = Callable[[Tensor, Tensor, Any], Tensor]
"""(x, t, what it is told besides) -> output, channels on axis 1."""

Scale = float | Callable[[Tensor], Tensor]
"""The guidance scale, or one from the times (n,) to the scales (n,)."""


def guided(network: ConditionedNetwork, scale: Scale, channels: int | None = 3) -> ConditionedNetwork:
    """`network` with null + scale * (cond - null) in the first `channels` output channels, in both halves.

    Called with 2n rows, of which the first n are told something and the others nothing; only the first half of x is
    used. The other channels stay as each half has them. channels: 3, as the published DiT and SiT samples were made
    (their authors call it an oversight), or None for all channels of x, as for DiMSUM. Scale 1 + w is the paper's w.
    """

    def call(x: Tensor, t: Tensor, given: Any) -> Tensor:
        if len(x) % 2:
            raise DimbenchError(f"guidance got {len(x)} rows: give as many null rows as conditional ones")
        half = x[: len(x) // 2]
        cond, null = network(torch.cat([half, half]), t, given).chunk(2)
        count = x.shape[1] if channels is None else channels
        first = combined(cond, null, t[: len(half)], scale, count)
        return torch.cat([first, torch.cat([first[:, :count], null[:, count:]], dim=1)])

    return call


def combined(cond: Tensor, null: Tensor, t: Tensor, scale: Scale, channels: int) -> Tensor:
    """null + scale * (cond - null) in the first `channels` channels, in the others cond; `t` (n,) are the times."""
    s = scale(t).view(-1, *[1] * (cond.ndim - 1)) if callable(scale) else scale
    low = null[:, :channels]
    out = low + s * (cond[:, :channels] - low)
    return out if channels >= cond.shape[1] else torch.cat([out, cond[:, channels:]], dim=1)


def autoguided(network: ConditionedNetwork, guide: ConditionedNetwork, scale: Scale) -> ConditionedNetwork:
    """guide + scale * (network - guide), told the same, for a guide that is a worse version of the network.

    Karras et al. 2024 (arXiv 2406.02507).
    """

    def call(x: Tensor, t: Tensor, given: Any) -> Tensor:
        better, worse = network(x, t, given), guide(x, t, given)
        s = scale(t).view(-1, *[1] * (x.ndim - 1)) if callable(scale) else scale
        return worse + s * (better - worse)

    return call


def within(scale: float, low: float, high: float, *, ends: bool = False) -> Callable[[Tensor], Tensor]:
    """t (n,) -> `scale` between the times low and high, with `ends` at them too, and 1, no guidance, elsewhere.

    Kynkaanniemi et al. 2024 (arXiv 2404.07724). Compared in the type of t: a float32 0.1 is not above 0.1.
    """

    def scales(t: Tensor) -> Tensor:
        inside = (low <= t) & (t <= high) if ends else (low < t) & (t < high)
        return torch.where(inside, scale, 1.0).to(t.dtype)

    return scales


def stacked(given: Mapping[str, Any], null: Mapping[str, Any]) -> dict[str, Any]:
    """What 2n rows are told: the n of `given`, then the n of `null`. What is no tensor is shared by all."""
    return {
        name: torch.cat([value, null[name]]) if isinstance(value, Tensor) else value for name, value in given.items()
    }


def adaptive_scale(largest: float = 3.8, power: float = 4.0) -> Callable[[Tensor], Tensor]:
    """t (n,) in [0, 1] -> scales (n,) that fall from `largest` at noise, t = 0, to 1 at data, t = 1.

    1 + (largest - 1) (1 - cos(pi (1 - t)^power)) / 2: Phung et al. 2024, DiMSUM (arXiv 2411.04168), its `ada-cfg`.
    """

    def scale(t: Tensor) -> Tensor:
        return 1 + (largest - 1) * (1 - torch.cos(math.pi * (1 - t) ** power)) / 2

    return scale
