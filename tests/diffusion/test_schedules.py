from __future__ import annotations

import numpy as np
import pytest

from dimbench.diffusion.schedules import base_betas, kept_timesteps, schedule
from dimbench.errors import UsageError
from tests import golden_data

SCHEDULES = [case for case in golden_data.card("dit/diffusion.json")["files"] if case["kind"] == "schedule"]
ROUNDING = 1e-10
"""Relative, for float64 products of up to 1000 terms 1 - beta, where beta comes as near to 1 as 0.999."""


@pytest.mark.parametrize("case", SCHEDULES, ids=lambda case: case["timestep_respacing"] or "all")
def test_arrays_equal_the_official_ones_exactly(case: dict) -> None:
    ours = schedule(case["timestep_respacing"])
    for name, golden in golden_data.arrays(f"dit/{case['file']}").items():
        np.testing.assert_array_equal(getattr(ours, name), golden.numpy(), err_msg=name)


@pytest.mark.parametrize(
    ("respacing", "head", "tail"),
    [
        ("10,15,25", [0, 37, 74, 111], [971, 985, 999]),
        ("ddim25", [0, 40, 80], [920, 960]),
        ("ddim250", [0, 4, 8], [992, 996]),
        ("1000", [0, 1, 2], [998, 999]),
        ("1,1", [0, 500], [0, 500]),
        ("4,4,4", [0, 111, 222, 333, 334], [666, 667, 778, 888, 999]),
    ],
)
def test_kept_timesteps(respacing: str, head: list[int], tail: list[int]) -> None:
    kept = kept_timesteps(respacing, 1000)
    assert kept[: len(head)] == head
    assert kept[-len(tail) :] == tail


def test_ties_round_to_even() -> None:
    assert kept_timesteps("3", 6) == [0, 2, 5]  # offsets 0, 2.5, 5
    assert kept_timesteps("3", 8) == [0, 4, 7]  # offsets 0, 3.5, 7


def test_strides_are_summed_one_by_one() -> None:
    assert kept_timesteps("21", 1000)[10] == 499  # 10 * 49.95 is 499.5, a tie; the sum falls just short of it


def test_an_integer_is_a_number_of_steps() -> None:
    np.testing.assert_array_equal(schedule(50).betas, schedule("50").betas)


@pytest.mark.parametrize("noise_schedule", ["linear", "squaredcos_cap_v2", "latent-diffusion"])
def test_respacing_keeps_the_cumulative_noise(noise_schedule: str) -> None:
    every = schedule("", noise_schedule=noise_schedule)
    some = schedule("7,30", noise_schedule=noise_schedule)
    np.testing.assert_allclose(some.alphas_cumprod, every.alphas_cumprod[some.timesteps], rtol=ROUNDING)
    assert len(some) == 37


def test_the_cosine_schedule_follows_its_curve() -> None:
    steps = np.arange(1, 1001)
    curve = np.cos((steps / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    betas = base_betas("squaredcos_cap_v2", 1000)
    np.testing.assert_allclose(np.cumprod(1 - betas)[:-1], curve[:-1], rtol=ROUNDING)
    assert betas[-1] == 0.999


def test_latent_diffusion_is_linear_in_the_square_root() -> None:
    roots = np.sqrt(base_betas("latent-diffusion", 1000))
    assert roots[[0, -1]] ** 2 == pytest.approx([0.0015, 0.0195])
    np.testing.assert_allclose(np.diff(roots), (roots[-1] - roots[0]) / 999, rtol=1e-9)


def test_an_offset_moves_the_timesteps_and_the_end() -> None:
    """As latent diffusion's DDIM takes them: 1, 51, ..., 951, and before the first the noise of timestep 0."""
    every = schedule("", noise_schedule="latent-diffusion").alphas_cumprod
    moved = schedule("ddim20", noise_schedule="latent-diffusion", offset=1)
    assert moved.timesteps.tolist() == list(range(1, 1000, 50))
    np.testing.assert_allclose(moved.alphas_cumprod, every[moved.timesteps], rtol=ROUNDING)
    np.testing.assert_allclose(
        moved.alphas_cumprod_prev, np.append(every[0], every[moved.timesteps[:-1]]), rtol=ROUNDING
    )


def test_an_offset_beyond_the_last_timestep_is_refused() -> None:
    with pytest.raises(UsageError, match="1000 steps, each 1 higher, go beyond 1000 timesteps"):
        schedule("1000", offset=1)


def test_the_linear_schedule_scales_with_its_length() -> None:
    betas = base_betas("linear", 100)
    assert betas[0] == pytest.approx(1e-3)
    assert betas[-1] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("respacing", "words"),
    [
        ("0", "positive number of steps"),
        ("-5", "positive number of steps"),
        ("10.5", "positive number of steps"),
        ("fifty", "positive number of steps"),
        ("10,,5", "positive number of steps"),
        ("ddim", "positive number of steps"),
        ("10,0", "positive number of steps"),
        ("2000", "at most 1000"),
        ("600,10", "at most 500"),
        ("1", "at least 2 steps"),
        ("ddim1", "ask for 2 or 3 steps"),
        ("ddim0", "no integer stride"),
        ("ddim60", "ask for 59 or 63 steps"),
    ],
)
def test_a_respacing_that_cannot_be_is_refused(respacing: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refusal:
        schedule(respacing)
    assert "\n" not in str(refusal.value)


def test_an_unknown_schedule_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'sigmoid': use one of linear, squaredcos_cap_v2"):
        schedule("50", noise_schedule="sigmoid")


@pytest.mark.parametrize(
    ("steps", "words"), [(0, "at least 2"), (-1, "at least 2"), (50.5, "at least 2"), (10, "too few")]
)
def test_a_length_that_makes_no_process_is_refused(steps: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        schedule("", diffusion_steps=steps)
