from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dimbench.layers import rope
from tests import golden_data

HEAD = 8
SIDE = 4
LAYOUTS = [rope.rows_then_columns, rope.columns_and_rows]


def turned(rotation: Tensor) -> tuple[Tensor, Tensor]:
    """The same query and the same key at every place."""
    query, key = (golden_data.unit(name, 1, 1, 1, HEAD).expand(1, 1, SIDE**2, HEAD) for name in ("q", "k"))
    return rope.rotate(query, rotation)[0, 0], rope.rotate(key, rotation)[0, 0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scores_depend_on_distances_alone(layout: Callable[..., Tensor]) -> None:
    query, key = turned(layout(*rope.grid(SIDE, SIDE), HEAD))
    scores = query @ key.T
    for first, second, shift in ((0, 1, 5), (0, 4, 3), (2, 9, 1)):  # tokens moved without wrapping
        torch.testing.assert_close(scores[first, second], scores[first + shift, second + shift])
    assert (scores[0] - scores[0, 0]).abs()[1:].min() > 1e-3


def test_scores_along_a_line_depend_on_distances_alone() -> None:
    query, key = turned(rope.along(torch.arange(SIDE**2), HEAD))
    scores = query @ key.T
    torch.testing.assert_close(scores[0, 3], scores[9, 12])
    assert (scores[0, 3] - scores[0, 4]).abs() > 1e-3


def test_pairs_are_turned_by_the_angles_of_their_place() -> None:
    rows, columns = rope.grid(3, 5)
    token, row, column = 11, 2, 1
    assert (rows[token], columns[token]) == (row, column)
    wave = 10000.0 ** -(4 / HEAD)
    halves = rope.rows_then_columns(rows, columns, HEAD)[token]
    torch.testing.assert_close(halves.angle(), torch.tensor([row, row * wave, column, column * wave]))
    woven = rope.columns_and_rows(rows, columns, HEAD)[token]
    torch.testing.assert_close(woven.angle(), torch.tensor([column, row, column * wave, row * wave]))
    line = rope.along(torch.tensor([2]), HEAD)[0]
    torch.testing.assert_close(line.angle(), torch.tensor([2 * 10000.0 ** -(2 * j / HEAD) for j in range(HEAD // 2)]))


def test_a_quarter_turn_takes_the_first_of_a_pair_to_the_second() -> None:
    x = torch.tensor([[[[1.0, 0.0, 0.0, 1.0]]]])
    quarter = rope.rotations(torch.full((1, 2), math.pi / 2))
    torch.testing.assert_close(rope.rotate(x, quarter), torch.tensor([[[[0.0, 1.0, -1.0, 0.0]]]]))


def test_positions_stay_float32_in_a_network_of_less_precision() -> None:
    x = golden_data.unit("q", 1, 2, SIDE**2, HEAD)
    rotation = rope.columns_and_rows(*rope.grid(SIDE, SIDE), HEAD)
    low = rope.rotate(x.bfloat16(), rotation)
    assert low.dtype == torch.bfloat16
    assert torch.equal(low, rope.rotate(x.bfloat16().float(), rotation).bfloat16())
