"""Levels of a series: noise and outliers are none, a step is one."""

from __future__ import annotations

import random

import pytest

from dimbench.comparing.steps import levels


def noisy(*parts: tuple[float, int], noise: float = 0.01, seed: int = 0) -> list[float]:
    some = random.Random(seed)
    return [middle * (1 + some.gauss(0, noise)) for middle, count in parts for _ in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_step(seed: int) -> None:
    assert len(levels(noisy((1.0, 40), noise=0.03, seed=seed), 0.05)) == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_step_is_found_where_it_is(seed: int) -> None:
    found = levels(noisy((1.0, 15), (1.12, 15), (0.8, 5), seed=seed), 0.05)
    assert [level.first for level in found] == [0, 15, 30]
    assert [level.value for level in found] == pytest.approx([1.0, 1.12, 0.8], rel=0.02)


def test_an_outlier_is_no_step() -> None:
    values = noisy((1.0, 20))
    values[9] = 1.5
    assert len(levels(values, 0.05)) == 1


def test_what_lies_within_the_margin_is_no_step() -> None:
    assert len(levels(noisy((1.0, 30), (1.04, 30), noise=0.001), 0.05)) == 1


def test_exact_figures_change_where_they_differ() -> None:
    found = levels([5, 5, 6, 5], 0)
    assert [(level.first, level.last, level.value) for level in found] == [(0, 1, 5), (2, 2, 6), (3, 3, 5)]


def test_a_single_figure_is_a_level() -> None:
    assert len(levels([1.0], 0.05)) == 1
