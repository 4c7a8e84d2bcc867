"""Products of features beside torch's in float64."""

from __future__ import annotations

import pytest
import torch

from dimbench.quality.matrix_products import inner_products


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 1, 1), (33, 2048, 17), (0, 4, 3), (3, 4, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inner_products_are_those_of_float64(shape, dtype):
    n, d, m = shape
    # Columns of a wider matrix, as a caller may pass: rows that do not lie side by side.
    x, y = torch.randn(n, d + 2, dtype=dtype)[:, 1:-1], torch.randn(m, 2 * d, dtype=dtype)[:, ::2]

    found = inner_products(x, y)

    assert found.dtype == dtype
    bound = d * torch.finfo(dtype).eps * (x.double().abs() @ y.double().abs().T)  # Higham 2002, eq. 3.5
    assert ((found - x.double() @ y.double().T).abs() <= bound).all()
