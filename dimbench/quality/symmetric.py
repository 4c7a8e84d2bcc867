"""Symmetric products, of which one half is computed."""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas
from torch import Tensor


def add_gram(total: Tensor, x: np.ndarray) -> None:
    """Add x^T x of a matrix (N, D) to what lies on the diagonal of `total` (D, D) and below it, both in float64."""
    if not x.size:
        return
    # Fortran reads rows as columns: its upper half is the lower one here.
    blas.dsyrk(1.0, x.T, beta=1.0, c=total.numpy().T, lower=0, overwrite_c=1)
