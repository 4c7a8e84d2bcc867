from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dimbench.sampling import precision


def test_the_network_alone_leaves_float32() -> None:
    seen: list[Tensor] = []

    def network(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        seen.extend((x, t))
        return x + 1

    x, t = torch.randn(2, 1), torch.tensor([0.123456789, 999.0])
    out = precision.around(network, torch.bfloat16)(x, t, torch.zeros(2))
    assert seen[0].dtype == torch.bfloat16
    assert torch.equal(seen[1], t)
    assert out.dtype == torch.float32


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_the_same_for_products_and_convolutions(allowed: bool) -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        precision.allow_tf32(allowed)
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == allowed
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
