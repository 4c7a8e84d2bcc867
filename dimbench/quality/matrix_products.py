"""Products of matrices of features on a CPU, each by the library that is fast at it."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import blas
from torch import Tensor
from torch.nn.functional import linear


def add_gram(total: Tensor, x: np.ndarray) -> None:
    """Add x^T x of a matrix (N, D) to what lies on the diagonal of `total` (D, D) and below it, both in float64."""
    if not x.size:
        return
    # Fortran reads rows as columns: its upper half is the lower one here.
    blas.dsyrk(1.0, x.T, beta=1.0, c=total.numpy().T, lower=0, overwrite_c=1)


def inner_products(x: Tensor, y: Tensor) -> Tensor:
    """x y^T (N, M) of rows (N, D) and (M, D) of one type.

    In float32 by oneDNN, which uses AVX-512 also where the MKL behind torch's own product does not (AMD): twice as fast
    there. It sums all D products one after the other.
    """
    if x.dtype != torch.float32 or not (torch.backends.mkldnn.is_available() and len(x) and len(y)):
        return x @ y.T
    return linear(x.to_mkldnn(), y.to_mkldnn()).to_dense()
