from __future__ import annotations

import pytest
import torch

from dimbench.layers.wavelet import HaarFilters, InverseHaarFilters, from_wavelets, to_wavelets
from tests import golden_data as golden

TOLERANCE = 1e-6  # float32 rounding of at most two levels of four-term sums
ARRAYS = golden.arrays("dimsum/dwt.npz")


@pytest.mark.parametrize("levels", [1, 2])
def test_token_layout(levels: int) -> None:
    tokens = ARRAYS["x"].flatten(2).transpose(1, 2)
    places = torch.arange(tokens.shape[1])
    forward = to_wavelets(tokens, places, levels)
    assert golden.relative_error(forward, ARRAYS[f"tokens_lv{levels}"]) <= TOLERANCE
    assert golden.relative_error(from_wavelets(forward, places, levels), ARRAYS[f"tokens_back_lv{levels}"]) <= TOLERANCE


@pytest.mark.parametrize(("side", "channels"), [(4, 16), (8, 48), (16, 32)])
def test_inverse(side: int, channels: int) -> None:
    tokens = torch.randn(2, side * side, channels)
    places = torch.randperm(side * side)
    assert golden.relative_error(from_wavelets(to_wavelets(tokens, places), places), tokens) <= TOLERANCE


def test_filters_are_the_official_ones_to_the_bit() -> None:
    filters = HaarFilters().state_dict()
    for band in ("ll", "lh", "hl", "hh"):
        assert torch.equal(filters[f"w_{band}"], ARRAYS[f"filter_{band}"]), band
    assert torch.equal(InverseHaarFilters().state_dict()["filters"], ARRAYS["idwt_filters"])
