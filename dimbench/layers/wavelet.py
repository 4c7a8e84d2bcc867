"""DiMSUM's wavelet domain: Haar packets of a token grid, laid out on the grid again."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from dimbench.kernels.haar import haar_tokens, haar_tokens_inverse

# The official filters are float32 products of 0.70710677, a little under 1/2.
FILTER = float(np.float32(0.70710677) ** 2)


def to_wavelets(tokens: Tensor, places: Tensor, levels: int = 2) -> Tensor:
    """(N, L, C) tokens of a G x G grid -> the same shape in the wavelet domain, in the layout of `haar_tokens`; row
    `places[i]` holds its token i.

    The official transform has on top of the orthonormal one its filters' rounding and a half per level.
    """
    return haar_tokens(tokens, places, levels, (2 * FILTER) ** levels / 2**levels)


def from_wavelets(tokens: Tensor, places: Tensor, levels: int = 2) -> Tensor:
    """The inverse of `to_wavelets`, with the official filters' rounding once more."""
    return haar_tokens_inverse(tokens, places, levels, (2 * FILTER) ** levels * 2**levels)


class HaarFilters(nn.Module):
    """The four analysis filters, each (1, 1, 2, 2): buffers that official checkpoints carry."""

    def __init__(self) -> None:
        super().__init__()
        for name, band in zip(("w_ll", "w_lh", "w_hl", "w_hh"), _filters(), strict=True):
            self.register_buffer(name, band[None])


class InverseHaarFilters(nn.Module):
    """The synthesis filters (4, 1, 2, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filters", _filters())


def _filters() -> Tensor:
    signs = [[[1, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]]
    return FILTER * torch.tensor(signs, dtype=torch.float32)[:, None]
