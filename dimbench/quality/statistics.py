"""Mean and covariance of features: running sums in float64, and their files."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimbench.errors import DimbenchError, UsageError
from dimbench.files import replacing
from dimbench.quality.checks import at_least, checked


@dataclass(frozen=True)
class Statistics:
    """A set of images as a Gaussian: mean `mu` (D,), unbiased covariance `sigma` (D, D), both float64.

    `n` is the number of images, None where a file does not say it.
    """

    mu: Tensor
    sigma: Tensor
    n: int | None


class RunningStatistics:
    """Mean and scatter of features that come in batches or from several processes, in float64 on the CPU.

    Merged as in Chan, Golub and LeVeque (1979), eq. 2.1: no difference of large sums, so that neither the size of
    the batches nor a mean far from zero costs digits.
    """

    def __init__(self, dimensions: int) -> None:
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
        mean = features.mean(dim=0)
        centred = features - mean
        self._merge(len(features), mean, centred.T @ centred)

    def merge(self, other: RunningStatistics) -> None:
        """Add all that `other` has seen."""
        self._merge(other.n, other.mean, other.scatter)

    def _merge(self, n: int, mean: Tensor, scatter: Tensor) -> None:
        if n == 0:
            return
        total = self.n + n
        shift = mean - self.mean
        self.scatter += scatter + torch.outer(shift, shift) * (self.n * n / total)
        self.mean += shift * (n / total)
        self.n = total

    def result(self) -> Statistics:
        """Mean and unbiased covariance. Raises UsageError for fewer than 2 images."""
        at_least(2, self.n)
        return Statistics(self.mean.clone(), self.scatter / (self.n - 1), self.n)


def statistics_of(features: Tensor) -> Statistics:
    """The statistics of features (N, D). Raises as `checked` does."""
    features = checked(features)
    running = RunningStatistics(features.shape[1])
    running.update(features)
    return running.result()


def save_statistics(statistics: Statistics, path: Path) -> None:
    """Write mu, sigma and, where known, n to the npz `path`."""
    arrays: dict[str, Any] = {"mu": statistics.mu.numpy(), "sigma": statistics.sigma.numpy()}
    if statistics.n is not None:
        arrays["n"] = statistics.n
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def load_statistics(path: Path) -> Statistics:
    """The statistics in an npz with mu and sigma: dimbench's, pytorch-fid's or a reference batch of ADM's evaluator.

    An ADM batch may also hold mu_s and sigma_s (of sFID) and images in arr_0. They are not read, and n stays unknown:
    its mu and sigma come from the whole training set, its images are fewer. Raises DimbenchError where the file is
    missing, damaged or of another kind.
    """
    if not path.is_file():
        raise DimbenchError(f"The statistics {path} do not exist: give the path of an npz with mu and sigma.")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = set(file.files)
            found = {name: np.array(file[name]) for name in ("mu", "sigma", "n") if name in names}
    except (OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DimbenchError(
            f"{path} cannot be read as an npz of statistics, so it was probably cut off: make or download it again."
        ) from error
    if not {"mu", "sigma"} <= names:
        kind = "images (arr_0) and no statistics" if "arr_0" in names else f"{', '.join(sorted(names)) or 'nothing'}"
        raise DimbenchError(f"{path} holds {kind} where mu and sigma were expected: compute the statistics first.")
    return _statistics_from(found, path)


def _statistics_from(found: dict[str, np.ndarray], path: Path) -> Statistics:
    mu, sigma = found["mu"], found["sigma"]
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
        raise DimbenchError(
            f"{path} holds mu of the shape {mu.shape} and sigma of {sigma.shape} where (D,) and (D, D) were expected: "
            "make or download it again."
        )
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise DimbenchError(f"{path} holds NaN or infinity: the model diverged, or the file is damaged; make it again.")
    n = int(found["n"]) if "n" in found else None
    return Statistics(torch.from_numpy(mu).double(), torch.from_numpy(sigma).double(), n)
