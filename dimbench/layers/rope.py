"""Rotary positions: adjacent feature pairs of queries and keys turned by angles of the token's place.

Su et al. 2021 (arXiv 2104.09864); in two dimensions half of the pairs turn by the row, half by the column.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BASE = 10000.0


def rotations(angles: Tensor) -> Tensor:
    """Unit complex numbers in complex64."""
    return torch.view_as_complex(torch.stack([torch.cos(angles), torch.sin(angles)], dim=-1))


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Adjacent feature pairs of x (N, heads, T, d) turned by rotation (T, d/2), in float32."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2).to(x.dtype)


def along(places: Tensor, head: int) -> Tensor:
    """Rotations (T, head / 2) of the angles place / p_j, p_j = 10000^(2j / head)."""
    return rotations(places[:, None] / _periods(head, 2, places.device))


def rows_then_columns(rows: Tensor, columns: Tensor, head: int) -> Tensor:
    """Rotations (T, head / 2): the first half of row / p_j, then those of column / p_j, p_j = 10000^(4j / head)."""
    periods = _periods(head, 4, rows.device)
    return rotations(torch.cat([rows[:, None] / periods, columns[:, None] / periods], dim=-1))


def columns_and_rows(rows: Tensor, columns: Tensor, head: int) -> Tensor:
    """Rotations (T, head / 2) of column / p_0, row / p_0, column / p_1, row / p_1, ..., p_j = 10000^(4j / head)."""
    places = torch.stack([columns, rows], dim=-1)  # (T, 2)
    return rotations((places[:, None, :] / _periods(head, 4, rows.device)[:, None]).flatten(1))


def grid(rows: int, columns: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Row and column (T,) of each token of a map, row by row."""
    return (
        torch.arange(rows, device=device).repeat_interleave(columns),
        torch.arange(columns, device=device).repeat(rows),
    )


def _periods(head: int, stride: int, device: torch.device) -> Tensor:
    return BASE ** (torch.arange(0, head, stride, dtype=torch.float32, device=device) / head)


class RotationTable(nn.Module):
    """Rotations of a map of `side` rows, as two fixed tables (side^2, head) that belong to the official weights."""

    freqs_cos: Tensor
    freqs_sin: Tensor

    def __init__(self, side: int, head: int) -> None:
        super().__init__()
        turns = rows_then_columns(*grid(side, side), head)
        self.register_buffer("freqs_cos", turns.real.repeat_interleave(2, dim=-1))
        self.register_buffer("freqs_sin", turns.imag.repeat_interleave(2, dim=-1))

    def forward(self) -> Tensor:
        """The rotations (side^2, head / 2)."""
        return torch.complex(self.freqs_cos[:, ::2].float(), self.freqs_sin[:, ::2].float())
