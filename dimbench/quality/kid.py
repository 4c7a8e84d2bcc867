"""The Kernel Inception Distance: an unbiased squared MMD, so that small sets serve where FID would be biased."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dimbench.errors import UsageError
from dimbench.quality.checks import checked_pair

SUBSETS = 100
SUBSET_SIZE = 1000
SEED = 2020


def kernel_distance(
    generated: Tensor, reference: Tensor, subset_size: int = SUBSET_SIZE, subsets: int = SUBSETS, seed: int = SEED
) -> tuple[float, float | None]:
    """Mean and standard deviation of the squared MMD over random subsets (Binkowski et al. 2018, section 4).

    The deviation is None where a subset is the whole of a set. Features (N, D) and (M, D). Subsets are drawn without
    replacement in torch-fidelity's order and with its default seed, so that both give the same figure. Raises
    UsageError where a set is smaller than a subset.
    """
    generated, reference = checked_pair(generated, reference)
    smaller = min(len(generated), len(reference))
    if not 2 <= subset_size <= smaller:
        raise UsageError(f"Subsets of {subset_size} images cannot be drawn from {smaller}: give 2 to {smaller}.")
    rng = np.random.RandomState(seed)
    draws = [
        _squared_mmd(_draw(rng, generated, subset_size), _draw(rng, reference, subset_size)) for _ in range(subsets)
    ]
    distances = torch.stack(draws)
    return distances.mean().item(), None if subset_size == smaller else distances.std(correction=0).item()


def _draw(rng: np.random.RandomState, features: Tensor, size: int) -> Tensor:
    return features[torch.from_numpy(rng.choice(len(features), size, replace=False))]


def _squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased estimate from two sets of m features each (Gretton et al. 2012, eq. 3)."""
    m = len(x)
    within = sum(kernel.sum() - kernel.trace() for kernel in (_kernel(x, x), _kernel(y, y)))
    return within / (m * (m - 1)) - 2 * _kernel(x, y).mean()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3
