"""Shapes that are given directly are those that torch computes."""

from __future__ import annotations

import pytest
import torch

from dimbench.meta import shapes_only


@pytest.mark.parametrize("bounds", [(5,), (2, 9), (2, 9, 2), (9, 2, -3), (0.5, 3.2), (0, 1, 0.3)])
def test_a_range_has_the_length_and_type_that_torch_gives_it(bounds: tuple[float, ...]) -> None:
    real = torch.arange(*bounds)
    with shapes_only():
        shape = torch.arange(*bounds)
    assert shape.is_meta
    assert (shape.shape, shape.dtype) == (real.shape, real.dtype)
