"""Sets of features with known properties."""

from __future__ import annotations

import torch
from torch import Tensor

from dimbench.data import digits
from dimbench.data.pixels import to_uint8
from dimbench.quality.features import Features, create_extractor, extract
from dimbench.quality.statistics import Statistics


def normal(n: int, dimensions: int, seed: int = 0, mean: float = 0.0) -> Tensor:
    """Standard normal features (n, dimensions), float64, around `mean`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, dimensions, generator=generator, dtype=torch.float64) + mean


def covariance(dimensions: int, seed: int = 0, rank: int | None = None) -> Tensor:
    root = normal(rank or 2 * dimensions, dimensions, seed)
    return root.T @ root / len(root)


def gaussian(dimensions: int, seed: int = 0, rank: int | None = None) -> Statistics:
    return Statistics(normal(1, dimensions, seed)[0], covariance(dimensions, seed, rank), None)


def digit_images(split: digits.Split) -> Tensor:
    """uint8 RGB images (N, 3, 8, 8)."""
    return to_uint8(digits.load(split)[0]).repeat(1, 3, 1, 1)


def digit_features(split: digits.Split) -> Features:
    return extract(create_extractor("digits-classifier"), digit_images(split).split(256))
