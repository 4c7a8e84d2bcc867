from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dimbench.errors import DimbenchError, UsageError
from dimbench.quality.statistics import (
    RunningStatistics,
    Statistics,
    load_statistics,
    save_statistics,
    statistics_of,
)
from tests.quality.sets import gaussian, normal

ROUNDING = 1e-13  # float64 sums over a hundred features of unit size, in another order
FAR = 1e6  # a mean at which the difference of two large sums would lose 12 of 16 digits
ROUNDING_FAR = 1e-9  # the features themselves lose 6 digits there: eps * FAR


def same(a: Statistics, b: Statistics, tolerance: float = ROUNDING) -> bool:
    return (
        a.n == b.n
        and torch.allclose(a.mu, b.mu, rtol=tolerance, atol=tolerance)
        and torch.allclose(a.sigma, b.sigma, rtol=tolerance, atol=tolerance)
    )


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_statistics_are_numpys_whatever_the_batch(batch: int) -> None:
    features = normal(100, 5)
    running = RunningStatistics(5)
    for part in features.split(batch):
        running.update(part)
    mu, sigma = features.mean(dim=0), torch.from_numpy(np.cov(features.numpy(), rowvar=False))
    assert same(running.result(), Statistics(mu, sigma, 100))


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    near, far = RunningStatistics(5), RunningStatistics(5)
    for part in normal(100, 5).split(7):
        near.update(part)
        far.update(part + FAR)
    assert torch.allclose(near.result().sigma, far.result().sigma, atol=ROUNDING_FAR)


def test_merged_parts_are_the_whole() -> None:
    features = normal(100, 5)
    parts = [RunningStatistics(5) for _ in range(3)]
    for part, rows in zip(parts, (features[:20], features[20:21], features[21:]), strict=True):
        part.update(rows)
    merged = RunningStatistics(5)
    for part in [RunningStatistics(5), *parts]:
        merged.merge(part)
    assert same(merged.result(), statistics_of(features))


def test_float32_features_are_summed_in_float64() -> None:
    features = (normal(1000, 3) + 100).float()
    assert same(statistics_of(features), statistics_of(features.double()))


def test_results_do_not_change_with_later_batches() -> None:
    running = RunningStatistics(5)
    running.update(normal(50, 5))
    before = running.result()
    running.update(normal(50, 5, seed=1))
    assert same(before, statistics_of(normal(50, 5)))


def test_other_dimensions_are_refused() -> None:
    with pytest.raises(UsageError, match="4 dimensions cannot join statistics of 5"):
        RunningStatistics(5).update(normal(10, 4))


def test_a_bad_batch_is_refused_and_not_counted() -> None:
    running = RunningStatistics(5)
    running.update(normal(50, 5))
    bad = normal(10, 5, seed=1)
    bad[2, 3] = torch.nan
    with pytest.raises(DimbenchError, match="The features of 1 of 10 images hold NaN"):
        running.update(bad)
    assert same(running.result(), statistics_of(normal(50, 5)))


def test_one_image_has_no_covariance() -> None:
    running = RunningStatistics(5)
    running.update(normal(1, 5))
    with pytest.raises(UsageError, match="1 image where at least 2"):
        running.result()


@pytest.mark.parametrize("n", [None, 321])
def test_statistics_survive_a_file(tmp_path: Path, n: int | None) -> None:
    statistics = Statistics(gaussian(4).mu, gaussian(4).sigma, n)
    save_statistics(statistics, tmp_path / "deep" / "stats.npz")
    assert same(load_statistics(tmp_path / "deep" / "stats.npz"), statistics, tolerance=0)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["stats.npz"]


def test_an_adm_reference_batch_is_read_and_its_images_are_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "VIRTUAL.npz"
    given = gaussian(4)
    arrays = {"mu": given.mu.numpy(), "sigma": given.sigma.numpy()}
    spatial = {"mu_s": np.zeros(7), "sigma_s": np.eye(7), "arr_0": np.zeros((3, 8, 8, 3), np.uint8)}
    np.savez(path, **arrays, **spatial)
    assert same(load_statistics(path), given, tolerance=0)


def test_float32_files_are_widened(tmp_path: Path) -> None:
    np.savez(tmp_path / "f32.npz", mu=np.ones(2, np.float32), sigma=np.eye(2, dtype=np.float32))
    loaded = load_statistics(tmp_path / "f32.npz")
    assert loaded.mu.dtype == loaded.sigma.dtype == torch.float64


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_file_cut_off_is_one_sentence(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "stats.npz"
    save_statistics(gaussian(20), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DimbenchError, match=r"stats\.npz cannot be read as an npz of statistics"):
        load_statistics(path)


def test_damaged_numbers_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "stats.npz"
    save_statistics(gaussian(20), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DimbenchError, match="cannot be read as an npz of statistics"):
        load_statistics(path)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"mean": np.zeros(2)}, "holds mean where mu and sigma were expected"),
        ({}, "holds nothing where mu and sigma were expected"),
        ({"arr_0": np.zeros((1, 8, 8, 3), np.uint8)}, r"holds images \(arr_0\) and no statistics"),
        ({"mu": np.zeros(2), "sigma": np.eye(3)}, r"mu of the shape \(2,\) and sigma of \(3, 3\)"),
        ({"mu": np.array([0.0, np.nan]), "sigma": np.eye(2)}, "holds NaN or infinity"),
        ({"mu": np.zeros(2), "sigma": np.full((2, 2), np.inf)}, "holds NaN or infinity"),
    ],
)
def test_files_of_another_kind_are_one_sentence(tmp_path: Path, arrays: dict[str, np.ndarray], sentence: str) -> None:
    np.savez(tmp_path / "stats.npz", **arrays)
    with pytest.raises(DimbenchError, match=sentence):
        load_statistics(tmp_path / "stats.npz")


def test_a_single_array_is_no_npz(tmp_path: Path) -> None:
    with (tmp_path / "stats.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DimbenchError, match="cannot be read as an npz"):
        load_statistics(tmp_path / "stats.npz")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DimbenchError, match=r"nowhere\.npz do not exist"):
        load_statistics(tmp_path / "nowhere.npz")
