"""Mean and covariance of features: running sums in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dimbench.errors import UsageError
from dimbench.quality.checks import at_least, checked
from dimbench.quality.symmetric import add_gram

# What float32 leaves of a covariance, summed or stored, relative to its largest entry, its trace, its largest variance.
SYMMETRIC = 1e-5
SEMIDEFINITE = 1e-6
RANK = 1e-6
ROWS = 2048  # features converted to float64 at once
TILE = 256  # rows of a covariance at once


@dataclass(frozen=True)
class Statistics:
    """A set of images as a Gaussian: mean `mu` (D,), unbiased covariance `sigma` (D, D), both float64.

    `n` is the number of images, None where a file does not say it.
    """

    mu: Tensor
    sigma: Tensor
    n: int | None

    @property
    def fault(self) -> str:
        """Why sigma is no covariance; empty where it is one, within rounding."""
        if not torch.allclose(self.sigma, self.sigma.T, rtol=0, atol=SYMMETRIC * self.sigma.abs().max().item()):
            return "is not symmetric"
        noise = SEMIDEFINITE * self.sigma.trace().clamp(min=torch.finfo(torch.float64).tiny)
        lifted = self.sigma + noise * torch.eye(len(self.mu), dtype=torch.float64)
        return "has negative variances" if torch.linalg.cholesky_ex(lifted).info else ""

    @property
    def rank(self) -> int:
        """In how many directions the images vary."""
        return int(torch.linalg.matrix_rank(self.sigma, rtol=RANK, hermitian=True))


class RunningStatistics:
    """Mean and scatter of features that come in batches or from several processes, in float64 on the CPU.

    Merged as in Chan, Golub and LeVeque (1979), eq. 2.1: no difference of large sums, so that neither the size of
    the batches nor a mean far from zero costs digits.
    """

    def __init__(self, dimensions: int) -> None:
        """Of `scatter` the lower half alone is kept."""
        self.n = 0
        self.mean = torch.zeros(dimensions, dtype=torch.float64)
        self.scatter = torch.zeros(dimensions, dimensions, dtype=torch.float64)

    def update(self, features: Tensor) -> None:
        """Add features (N, D). Raises UsageError for another shape, DimbenchError for NaN or infinite values."""
        features = checked(features, minimum=1).cpu()
        if features.shape[1] != len(self.mean):
            raise UsageError(
                f"Features of {features.shape[1]} dimensions cannot join statistics of {len(self.mean)}: "
                "use one extractor for all batches."
            )
        self._add(features.numpy())

    def _add(self, rows: np.ndarray) -> None:
        mean = rows.mean(axis=0, dtype=np.float64)
        around = np.empty((min(ROWS, len(rows)), rows.shape[1]))
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            add_gram(self.scatter, np.subtract(part, mean, out=around[: len(part)]))
        self._shift(len(rows), torch.from_numpy(mean))

    def merge(self, other: RunningStatistics) -> None:
        """Add all that `other` has seen."""
        if other.n:
            self.scatter += other.scatter
            self._shift(other.n, other.mean)

    def _shift(self, n: int, mean: Tensor) -> None:
        """Account for n features around `mean`, whose own scatter has been added."""
        total = self.n + n
        shift = mean - self.mean
        if self.n:
            self.scatter.addr_(shift, shift, alpha=self.n * n / total)
        self.mean += shift * (n / total)
        self.n = total

    def result(self) -> Statistics:
        """Mean and unbiased covariance. Raises UsageError for fewer than 2 images."""
        at_least(2, self.n)
        sigma = self.scatter.numpy() / (self.n - 1)  # torch's threads would wait for those of the products before
        for start in range(0, len(sigma), TILE):
            rows, below = slice(start, start + TILE), slice(start + TILE, None)
            sigma[rows, below] = sigma[below, rows].T
            own = np.tril(sigma[rows, rows])
            sigma[rows, rows] = own + np.tril(own, -1).T
        return Statistics(self.mean.clone(), torch.from_numpy(sigma), self.n)


def statistics_of(features: Tensor) -> Statistics:
    """The statistics of features (N, D). Raises as `checked` does."""
    features = checked(features)
    running = RunningStatistics(features.shape[1])
    running._add(features.cpu().numpy())
    return running.result()
