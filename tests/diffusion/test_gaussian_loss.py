from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dimbench.diffusion.gaussian_loss import _log_likelihood, noised, training_loss, variational_bound
from dimbench.diffusion.schedules import schedule
from tests import golden_data
from tests.diffusion import toys

GOLDEN = 1e-6
"""Relative: one pass in float32; equality is seen."""
EVERY = schedule()


@pytest.fixture
def golden() -> dict[str, Tensor]:
    return golden_data.arrays("dit/diffusion-training-loss.npz")


def test_the_loss_equals_the_official_one(golden: dict[str, Tensor]) -> None:
    x0, t, noise = golden["x_start"], golden["t"], golden["noise"]
    x = noised(EVERY, t, x0, noise)
    assert golden_data.relative_error(x, golden["x_t"]) < GOLDEN
    for network, expected in (
        (toys.gaussian, golden["loss"]),
        (toys.gaussian_noise, golden["mse"]),
    ):
        assert golden_data.relative_error(training_loss(network, x0, t, noise, EVERY), expected) < GOLDEN


def test_the_bound_trains_the_variance_alone(golden: dict[str, Tensor]) -> None:
    x0, i, noise = golden["x_start"], golden["t"], golden["noise"]
    out = toys.gaussian(noised(EVERY, i, x0, noise), i).requires_grad_()
    training_loss(lambda x, t: out, x0, i, noise, EVERY).sum().backward()
    assert out.grad is not None
    mse_gradient = 2 * (out[:, :4] - noise) / noise[0].numel()
    torch.testing.assert_close(out.grad[:, :4], mse_gradient)
    assert out.grad[:, 4:].abs().min() > 0


def test_the_network_is_told_the_kept_timesteps(golden: dict[str, Tensor]) -> None:
    seen = []
    some = schedule("50")
    training_loss(lambda x, t: seen.append(t) or x, golden["x_start"], torch.tensor([1, 49]), golden["noise"], some)
    assert seen[0].tolist() == [20, 999]


def test_a_perfect_estimate_of_x0_costs_nothing(golden: dict[str, Tensor]) -> None:
    x0, noise = golden["x_start"], golden["noise"]
    i = torch.tensor([3, 700])
    loss = training_loss(
        lambda x, t: torch.cat([x0, -torch.ones_like(x0)], 1), x0, i, noise, EVERY, predict_xstart=True
    )
    torch.testing.assert_close(loss, torch.zeros(2), atol=1e-6, rtol=0)  # v = -1 is the posterior's own variance


def test_a_mean_off_by_one_deviation_costs_half_a_nat() -> None:
    process = schedule("50")
    i = torch.tensor([10])
    x0 = x = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    off = math.exp(0.5 * process.posterior_log_variance_clipped[10]) / process.posterior_mean_coef1[10]
    bits = variational_bound(process, i, x0, x, x0 + off, -torch.ones_like(x0))
    assert bits.item() == pytest.approx(0.5 / math.log(2), rel=1e-6)


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 0.01), (0.3, 0.15), (-0.9, 1.0)])
def test_the_bins_of_the_decoder_share_all_probability_around_the_mean(mean: float, deviation: float) -> None:
    x = torch.linspace(-1, 1, 256, dtype=torch.float64)
    p = _log_likelihood(x, torch.tensor(mean), torch.tensor(2 * math.log(deviation))).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-9)  # 256 floors of 1e-12
    if abs(mean) + 4 * deviation < 1:  # else the outermost bins hold the tails
        assert (p * x).sum().item() == pytest.approx(mean, abs=1e-4)
