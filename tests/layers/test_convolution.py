"""A convolution as a product of patches beside torch's in float64."""

from __future__ import annotations

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from dimbench.kernels import onednn
from dimbench.layers import convolution
from dimbench.layers.convolution import WideConv

pytestmark = pytest.mark.skipif(not onednn.AVAILABLE, reason="this torch was built without oneDNN")


def is_product(conv, x) -> bool:
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        conv(x)
    return "aten::im2col" in {event.key for event in seen.key_averages()}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("rows", "product"), [(1, True), (2, True), (3, False)])
def test_many_weights_to_a_pixel_are_multiplied_with_patches(rows, product, bias, monkeypatch):
    monkeypatch.setattr(convolution, "WEIGHTS_PER_PIXEL", 4)  # 4 x 8 x 9 weights and 35 pixels a row
    conv, x = WideConv(4, 8, bias=bias), torch.randn(rows, 4, 5, 7)
    assert not is_product(conv, x), "for a gradient"
    with torch.inference_mode():
        exact = conv.double()(x.double())
        conv.float()
        assert is_product(conv, x) == product
        assert torch.allclose(conv(x).double(), exact, atol=1e-6)
