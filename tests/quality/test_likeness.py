"""Pictures beside what was made of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dimbench.quality.likeness import STABILISERS, PictureLikeness, structural_similarity


def likeness(real: Tensor, made: Tensor) -> dict[str, float | None]:
    found = PictureLikeness()
    for a, b in zip(real.split(2), made.split(2), strict=True):
        found.add(a, b)
    return found.metrics


def noisy(seed: int) -> Tensor:
    return torch.randint(0, 256, (4, 3, 20, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_a_picture_is_like_itself() -> None:
    assert likeness(noisy(0), noisy(0)) == {"psnr": None, "ssim": pytest.approx(1)}


def test_the_ratio_is_of_the_mean_square_over_all_pictures() -> None:
    real = torch.full((4, 3, 12, 12), 100, dtype=torch.uint8)
    made = real.clone()
    made[0] += 8
    assert likeness(real, made)["psnr"] == pytest.approx(10 * math.log10(255**2 / 16))


def test_flat_pictures_differ_in_their_brightness_alone() -> None:
    real, made = (torch.full((1, 1, 16, 16), value).double() for value in (50.0, 100.0))
    first = STABILISERS[0]
    expected = (2 * 50 * 100 + first) / (50**2 + 100**2 + first)
    assert structural_similarity(real, made).item() == pytest.approx(expected)


def test_one_window_is_the_formula_itself() -> None:
    x, y = (noisy(seed)[:1, :1, :11, :11].double() for seed in (0, 1))
    place = torch.arange(11).double() - 5
    bell = torch.exp(-(place[:, None] ** 2 + place**2) / 4.5)
    bell = bell / bell.sum()
    a, b = (bell * x).sum(), (bell * y).sum()
    variance, other = (bell * (x - a) ** 2).sum(), (bell * (y - b) ** 2).sum()
    covariance = (bell * (x - a) * (y - b)).sum()
    c, d = STABILISERS
    expected = (2 * a * b + c) * (2 * covariance + d) / ((a**2 + b**2 + c) * (variance + other + d))
    assert structural_similarity(x, y).item() == pytest.approx(expected.item())


def test_structure_is_not_measured_on_pictures_below_its_window() -> None:
    small = noisy(0)[..., :10, :]
    assert likeness(small, noisy(1)[..., :10, :])["ssim"] is None


def test_who_saw_which_pictures_changes_no_digit() -> None:
    parts = [PictureLikeness() for _ in range(3)]
    pairs = list(zip(noisy(0).split(1), noisy(1).split(1), strict=True))
    for number, (real, made) in enumerate(pairs):
        parts[number % 3].add(real, made)
    for order in ((0, 1, 2), (2, 0, 1)):
        whole = PictureLikeness()
        for place in order:
            whole.merge(parts[place])
        assert whole.metrics == likeness(noisy(0), noisy(1))
