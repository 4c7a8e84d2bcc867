"""In which order a sequence model reads the tokens of a G x G grid.

Every order is an int64 array p of length G^2: p[j] is the row-major token index read at scan position j.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.int64]


@cache
def four_way(side: int, turn: int) -> Order:
    """Rows, reversed rows, columns, reversed columns, for turn = 0..3 (and again from 4 on)."""
    rows = np.arange(side * side).reshape(side, side)
    order = (rows if turn % 4 < 2 else rows.T).ravel()
    return order[::-1].copy() if turn % 2 else order.copy()


@cache
def windows(side: int, window: int, by_columns: bool) -> Order:
    """Windows one after another, row-major both between and inside them, or column-major both."""
    grid = np.arange(side * side).reshape(side, side)
    if by_columns:
        grid = grid.T
    tiles = grid.reshape(side // window, window, side // window, window)
    return tiles.transpose(0, 2, 1, 3).reshape(-1)


def _antidiagonals(side: int) -> tuple[Order, Order]:
    """(v, h) of JPEG's zigzag: even diagonals run from bottom left to top right, odd ones back."""
    v, h = [], []
    for total in range(2 * side - 1):
        across = range(max(0, total - side + 1), min(total, side - 1) + 1)
        for column in across if total % 2 == 0 else reversed(across):
            v.append(total - column)
            h.append(column)
    return np.array(v), np.array(h)


@cache
def corner_paths(kind: str, side: int) -> NDArray[np.int64]:
    """The eight paths (8, G^2) of kind "sweep", "zigma" or "jpeg": from the corners top left, top right, bottom left,
    bottom right in that order, a row-wise and then a column-wise one each."""
    position = np.arange(side * side)
    major, minor = position // side, position % side
    if kind == "zigma":
        minor = np.where(major % 2 == 1, side - 1 - minor, minor)
    if kind == "jpeg":
        major, minor = _antidiagonals(side)
    paths = []
    for row_sign in (1, -1):
        for column_sign in (1, -1):
            for v, h in ((major, minor), (minor, major)):
                row = v if row_sign > 0 else side - 1 - v
                column = h if column_sign > 0 else side - 1 - h
                paths.append(row * side + column)
    return np.stack(paths)
