"""Features in files, of which a few rows at a time are in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

AT_ONCE = 1000  # rows in memory


class FeatureRows:
    """Features (N, D) in .npy files of `size` rows each, the last perhaps fewer, `stored` as numbers of that type:
    indexed by a slice or by the numbers of rows they are read as a tensor of `dtype`."""

    ndim = 2

    def __init__(
        self,
        files: Sequence[Path],
        size: int,
        shape: tuple[int, int],
        stored: torch.dtype,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.files, self.size, self.shape, self.stored, self.dtype = files, size, shape, stored, dtype or stored

    def __len__(self) -> int:
        return self.shape[0]

    def to(self, dtype: torch.dtype) -> FeatureRows:
        """The same, read as other numbers."""
        return FeatureRows(self.files, self.size, self.shape, self.stored, dtype)

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
            found[mine] = self._file(place)[flat[mine] - place * self.size].to(self.dtype)
        return found.view(*numbers.shape, self.shape[1])

    def _file(self, place: int) -> Tensor:
        """The rows of a file, mapped: opening it by numpy takes longer, most of it for the header."""
        file, width = self.files[place], self.shape[1]
        all_of_it = torch.from_file(str(file), size=file.stat().st_size // self.stored.itemsize, dtype=self.stored)
        rows = min(self.size, len(self) - place * self.size)
        return all_of_it[-rows * width :].view(rows, width)


Table = Tensor | FeatureRows


def mean_of(features: Table) -> Tensor:
    """The mean (D,) of features (N, D), of their type, summed in float64; the same wherever they lie."""
    total = torch.zeros(features.shape[1], dtype=torch.float64)
    for rows in features.split(AT_ONCE):
        total += rows.double().sum(dim=0)
    return (total / len(features)).to(features.dtype)
