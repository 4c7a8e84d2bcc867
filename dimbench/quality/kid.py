"""The Kernel Inception Distance: an unbiased squared MMD, so that small sets serve where FID would be biased."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dimbench.errors import UsageError
from dimbench.kernels import onednn
from dimbench.quality.checks import checked_pair
from dimbench.quality.feature_rows import Table, mean_of
from dimbench.sampling.ranks import ALONE, Ranks

SUBSETS = 100
SUBSET_SIZE = 1000
SEED = 2020
ROWS = 250  # of a subset at once


def kernel_distance(
    generated: Table,
    reference: Table,
    subset_size: int = SUBSET_SIZE,
    subsets: int = SUBSETS,
    seed: int = SEED,
    here: Ranks = ALONE,
) -> tuple[float, float | None]:
    """Mean and standard deviation of the squared MMD over random subsets (Binkowski et al. 2018, section 4).

    The deviation is None where a subset is the whole of a set. Features (N, D) and (M, D). Subsets are drawn without
    replacement in torch-fidelity's order and with its default seed, so that both give the same figure. Products of
    features in float32 are taken in it around the reference's mean, all else in float64: off by 1e-8 or less, where
    float32 throughout is off by 1e-7. The ranks `here` share out the subsets. Raises UsageError where a
    set is smaller than a subset.
    """
    generated, reference = checked_pair(generated, reference)
    smaller = min(len(generated), len(reference))
    if not 2 <= subset_size <= smaller:
        raise UsageError(f"Subsets of {subset_size} images cannot be drawn from {smaller}: give 2 to {smaller}.")
    rng = np.random.RandomState(seed)
    centre = mean_of(reference)
    fakes, reals = Around(centre, generated), Around(centre, reference)
    draws = [(fakes.draw(rng, subset_size), reals.draw(rng, subset_size)) for _ in range(subsets)]
    distances = torch.zeros(subsets, dtype=torch.float64)
    for number in here.share(range(subsets)):
        x, y = draws[number]
        distances[number] = _squared_mmd(fakes.near(x), reals.near(y))
    here.total(distances)
    return distances.mean().item(), None if subset_size == smaller else distances.std(correction=0).item()


class Around:
    """Features x (N, D) as x - c and, in float64, the rest (N,) of their products by D: x.y is (x - c).(y - c) and
    D times the rests of x and y."""

    def __init__(self, c: Tensor, x: Table) -> None:
        along = torch.cat([rows.double() @ c.double() for rows in x.split(SUBSET_SIZE)])  # x.c
        self.c, self.x = c, x
        self.rest = (along - c.double().square().sum() / 2) / len(c)

    def draw(self, rng: np.random.RandomState, size: int) -> Tensor:
        """The numbers of some rows."""
        return torch.from_numpy(rng.choice(len(self.rest), size, replace=False))

    def near(self, rows: Tensor) -> Near:
        """These rows."""
        return Near(self.x[rows] - self.c, self.rest[rows])


@dataclass(frozen=True)
class Near:
    """Some rows of features: x - c (n, D), and the rest (n,) of their products."""

    near: Tensor
    rest: Tensor

    def __getitem__(self, rows: slice) -> Near:
        return Near(self.near[rows], self.rest[rows])


def _squared_mmd(x: Near, y: Near) -> Tensor:
    """The unbiased estimate from two sets of m features each (Gretton et al. 2012, eq. 3)."""
    m = len(x.rest)
    return (_within(x) + _within(y)) / (m * (m - 1)) - 2 * _kernel(x, y).mean()


def _within(x: Near) -> Tensor:
    """The sum of the kernel over all ordered pairs of unlike rows, of which it computes one half."""
    total = torch.zeros((), dtype=torch.float64)
    for start in range(0, len(x.rest), ROWS):
        kernel = _kernel(x[start : start + ROWS], x[: start + ROWS])
        own = kernel[:, start:]
        total += 2 * kernel.sum() - own.sum() - own.trace()
    return total


def _kernel(x: Near, y: Near) -> Tensor:
    """(x.y / D + 1)^3 in float64."""
    products = onednn.product(x.near, y.near).double()
    return products.div_(x.near.shape[1]).add_(x.rest[:, None] + 1).add_(y.rest).pow_(3)
