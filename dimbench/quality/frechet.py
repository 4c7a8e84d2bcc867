"""The Frechet distance between two sets of features (FID)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.linalg import blas, lapack
from torch import Tensor

from dimbench.errors import DimbenchError
from dimbench.quality.checks import same_dimensions
from dimbench.quality.statistics import Statistics
from dimbench.quality.symmetric import add_gram


def frechet_distance(generated: Statistics, reference: Statistics) -> float:
    """|mu_A - mu_B|^2 + tr(A + B - 2 (A B)^(1/2)), in the squared unit of the features (Heusel et al. 2017, eq. 6).

    With A = R R^T and B = S S^T the eigenvalues of A B are those of M^T M, where M = R^T S has as many rows and columns
    as the covariances have ranks: eigenvalues alone of one symmetric matrix in float64, and none of singular
    directions, whose rounding noise has large square roots. Raises UsageError for unlike dimensions,
    DimbenchError where squares overflow.
    """
    same_dimensions(len(generated.mu), len(reference.mu))
    product = PivotedRoot.of(generated.sigma).transposed_by(PivotedRoot.of(reference.sigma).full)
    fewer = product if product.shape[0] > product.shape[1] else product.T
    squares = product.new_zeros(fewer.shape[1], fewer.shape[1])
    add_gram(squares, fewer.numpy())
    overlap = torch.linalg.eigvalsh(squares).clamp(min=0).sqrt().sum()  # of the lower half
    shift = (generated.mu - reference.mu).square().sum()
    distance = shift + generated.sigma.trace() + reference.sigma.trace() - 2 * overlap
    if not distance.isfinite():
        largest = max(each.abs().max().item() for side in (generated, reference) for each in (side.mu, side.sigma))
        raise DimbenchError(
            f"statistics as large as {largest:.3g} have no distance in float64: a file is damaged, or a model "
            "diverged; make them again"
        )
    return max(0.0, distance.item())  # rounding can leave -1e-13 for equal sets


@dataclass(frozen=True)
class PivotedRoot:
    """R (D, r) with R R^T = sigma, r being the rank to rounding. `factor` holds its rows in the order of `pivots`, of
    which the first r are a lower triangle."""

    factor: Tensor
    pivots: Tensor

    @classmethod
    def of(cls, sigma: Tensor) -> PivotedRoot:
        """Cholesky's decomposition with pivots ends where the rest is noise, or the negative part that single precision
        leaves of a singular covariance."""
        factor, pivots, rank, _ = lapack.dpstrf(sigma.numpy().T, lower=1)
        return cls(torch.from_numpy(factor).tril()[:, :rank], torch.from_numpy(pivots).long() - 1)

    @property
    def full(self) -> Tensor:
        """R with the rows of sigma's order."""
        root = torch.empty_like(self.factor)
        root[self.pivots] = self.factor
        return root

    def transposed_by(self, x: Tensor) -> Tensor:
        """R^T x (r, n) of x (D, n); of the triangle only what is not zero is multiplied."""
        rank = self.factor.shape[1]
        first, rest = x[self.pivots[:rank]], x[self.pivots[rank:]]
        # Fortran reads rows as columns: it multiplies x^T by the upper triangle from the right.
        product = blas.dtrmm(1.0, self.factor[:rank].numpy().T, first.numpy().T, side=1, trans_a=1)
        return torch.from_numpy(product.T).addmm_(self.factor[rank:].T, rest)
