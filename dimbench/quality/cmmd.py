"""CMMD: the squared maximum mean discrepancy of CLIP embeddings under a Gaussian kernel."""

from __future__ import annotations

import torch

from dimbench.quality.checks import checked_pair
from dimbench.quality.feature_rows import Table

SIGMA, SCALE = 10.0, 1000.0  # Jayasumana et al. 2024, section 4.2
ROWS = 1000  # of a kernel at once


def clip_discrepancy(generated: Table, reference: Table) -> float:
    """1000 (E k(x, x') + E k(y, y') - 2 E k(x, y)), k(x, y) = exp(-|x - y|^2 / 200), of embeddings (N, D) and (M, D):
    the biased estimate, whose means hold each embedding with itself, as the authors' code. Raises as `checked` does."""
    x, y = checked_pair(generated, reference)
    return SCALE * (_mean(x, x) + _mean(y, y) - 2 * _mean(x, y))


def _mean(x: Table, y: Table) -> float:
    total = torch.zeros((), dtype=torch.float64)
    for rows in x.split(ROWS):
        for columns in y.split(ROWS):
            total += torch.exp(-torch.cdist(rows.double(), columns.double()).square() / (2 * SIGMA**2)).sum()
    return total.item() / (len(x) * len(y))
