"""Features in files, of which a few rows at a time are in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

AT_ONCE = 1000  # rows in memory


class FeatureRows:
    """Features (N, D) in .npy files of `size` rows each, the last perhaps fewer: indexed by a slice or by the numbers
    of rows they are read as a tensor of `dtype`."""

    ndim = 2

    def __init__(self, files: Sequence[Path], size: int, shape: tuple[int, int], dtype: torch.dtype) -> None:
        self.files, self.size, self.shape, self.dtype = files, size, shape, dtype

    def __len__(self) -> int:
        return self.shape[0]

    def to(self, dtype: torch.dtype) -> FeatureRows:
        """The same, read as other numbers."""
        return FeatureRows(self.files, self.size, self.shape, dtype)

    def split(self, size: int) -> Iterator[Tensor]:
        """All rows in their order, `size` at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))

    def __getitem__(self, which: slice | Tensor) -> Tensor:
        numbers = torch.arange(len(self))[which] if isinstance(which, slice) else which
        flat = numbers.flatten()
        found = torch.empty(len(flat), self.shape[1], dtype=self.dtype)
        places = flat // self.size
        for place in places.unique().tolist():
            mine = places == place
            rows = np.load(self.files[place], mmap_mode="r")[(flat[mine] - place * self.size).numpy()]
            found[mine] = torch.from_numpy(rows).to(self.dtype)
        return found.view(*numbers.shape, self.shape[1])


Table = Tensor | FeatureRows


def mean_of(features: Table) -> Tensor:
    """The mean (D,) of features (N, D), of their type, summed in float64; the same wherever they lie."""
    total = torch.zeros(features.shape[1], dtype=torch.float64)
    for rows in features.split(AT_ONCE):
        total += rows.double().sum(dim=0)
    return (total / len(features)).to(features.dtype)
