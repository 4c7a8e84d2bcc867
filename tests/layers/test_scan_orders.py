from __future__ import annotations

import numpy as np
import pytest

from dimbench.layers.scan_orders import corner_paths, four_way, windows
from tests import golden_data as golden

EXPECTED = {name: array.numpy() for name, array in golden.arrays("dimsum/scan_orders.npz").items()}


@pytest.mark.parametrize("side", [8, 16, 32])
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_four_way(side: int, turn: int) -> None:
    assert np.array_equal(four_way(side, turn), EXPECTED[f"spatial_{side}_layer{turn}"])
    assert np.array_equal(four_way(side, turn), four_way(side, turn + 4))


@pytest.mark.parametrize("side", [8, 16, 32])
def test_windows(side: int) -> None:
    assert np.array_equal(windows(side, side // 4, False), EXPECTED[f"window_{side}_row"])
    assert np.array_equal(windows(side, side // 4, True), EXPECTED[f"window_{side}_col"])


@pytest.mark.parametrize("kind", ["sweep", "zigma", "jpeg"])
def test_corner_paths(kind: str) -> None:
    assert np.array_equal(corner_paths(kind, 8), EXPECTED[f"{kind}_8"])


@pytest.mark.parametrize("kind", ["sweep", "zigma", "jpeg"])
@pytest.mark.parametrize("side", [1, 2, 5, 6])
def test_every_path_reads_every_token_once(kind: str, side: int) -> None:
    for path in corner_paths(kind, side):
        assert sorted(path) == list(range(side * side))


def test_jpeg_steps_to_a_neighbour_each_time() -> None:
    rows, columns = np.divmod(corner_paths("jpeg", 6)[0], 6)
    assert max(np.abs(np.diff(rows)).max(), np.abs(np.diff(columns)).max()) == 1
