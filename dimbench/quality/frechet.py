"""The Frechet distance between two sets of features (FID)."""

from __future__ import annotations

import torch
from torch import Tensor

from dimbench.quality.checks import same_dimensions
from dimbench.quality.statistics import Statistics


def frechet_distance(generated: Statistics, reference: Statistics) -> float:
    """|mu_A - mu_B|^2 + tr(A + B - 2 (A B)^(1/2)), in the squared unit of the features (Heusel et al. 2017, eq. 6).

    With A = R R^T the eigenvalues of A B are those of R^T B R, which is symmetric: two symmetric decompositions in
    float64, no complex numbers, and singular covariances do no harm. Raises UsageError for unlike dimensions.
    """
    same_dimensions(len(generated.mu), len(reference.mu))
    root = _root(generated.sigma)
    overlap = torch.linalg.eigvalsh(root.T @ reference.sigma @ root).clamp(min=0).sqrt().sum()
    shift = (generated.mu - reference.mu).square().sum()
    distance = shift + generated.sigma.trace() + reference.sigma.trace() - 2 * overlap
    return max(0.0, distance.item())  # rounding can leave -1e-13 for equal sets


def _root(sigma: Tensor) -> Tensor:
    """R (D, r) with R R^T = sigma, where r is the rank: rounding noise in the null space has a large square root."""
    values, vectors = torch.linalg.eigh(sigma)
    kept = values > len(values) * torch.finfo(values.dtype).eps * values.max().clamp(min=0)
    return vectors[:, kept] * values[kept].sqrt()
