from __future__ import annotations

import pytest
import torch

from dimbench.sampling import precision


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_the_same_for_products_and_convolutions(allowed: bool) -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        precision.set_precision("tf32" if allowed else "fp32")
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == allowed
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
