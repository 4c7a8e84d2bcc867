from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from dimbench.diffusion.vp_sde import beta, deviation, euler
from dimbench.errors import UsageError
from tests import golden_data
from tests.diffusion import toys

# Relative to the largest value: float32 rounding over 20 steps.
GOLDEN = 2e-5
CASES = [case for case in golden_data.card("dim/sampling.json")["cases"] if case["file"].startswith("cifar")]


def golden_noise(k: int, shape: tuple[int, ...]) -> Tensor:
    return golden_data.unit(f"sde.noise.{k}", *shape) * 3**0.5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["file"])
def test_trajectories_equal_the_official_ones(case: dict[str, Any]) -> None:
    golden = golden_data.arrays(f"dim/{case['file']}")
    told, draws, states = [], [], toys.States()

    def network(x: Tensor, t: Tensor) -> Tensor:
        told.append(t[0].item())
        return toys.dim_labelled(x, t, torch.full((len(x),), case["label"]))

    def noise(k: int, shape: tuple[int, ...]) -> Tensor:
        draws.append(k)
        return golden_noise(k, shape)

    x = golden_data.latents(*case["x_shape"])
    stochastic = "sde" in case["file"]
    end = euler(network, x, noise if stochastic else None, steps=case["steps"], on_step=states)
    assert golden_data.relative_error(end, golden["out"]) < GOLDEN
    assert golden_data.relative_error(torch.stack([x, *states.values()]), golden["x"]) < GOLDEN
    assert told == pytest.approx(golden["t_model"].tolist(), rel=1e-6)
    assert draws == (list(range(case["randn_calls"])) if stochastic else [])


def exact_network(x: Tensor, t: Tensor) -> Tensor:
    """For independent data N(0, 0.5^2)."""
    s = deviation(t[0].item() / 999)
    return s * x / (0.25 * (1 - s**2) + s**2)


def test_the_flow_converges_at_first_order() -> None:
    x = golden_data.latents(1, 1, 8, 8).double()
    s = deviation(1.0)
    exact = 0.5 / math.sqrt(0.25 * (1 - s**2) + s**2) * x
    errors = [(euler(exact_network, x, steps=steps) - exact).abs().max().item() for steps in (200, 400, 800)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(1, abs=0.25)


def test_the_sde_ends_at_the_variance_of_the_data() -> None:
    generator = torch.Generator().manual_seed(0)

    def noise(k: int, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    end = euler(exact_network, noise(0, (1, 1, 128, 128)), noise, steps=400)
    # The discretisation is worth 1 %, four standard errors of the variance 4 %.
    assert end.var().item() == pytest.approx(0.25, rel=0.06)


def test_the_noise_grows_from_none_to_all() -> None:
    assert deviation(0.0) == 0
    assert deviation(1.0) == pytest.approx(1, abs=1e-4)
    for t in (0.2, 0.7):  # d ln(1 - deviation^2) / dt = -beta
        slope = (math.log(1 - deviation(t + 1e-6) ** 2) - math.log(1 - deviation(t - 1e-6) ** 2)) / 2e-6
        assert slope == pytest.approx(-beta(t), rel=1e-6)


def test_no_steps_are_refused() -> None:
    with pytest.raises(UsageError, match="0 steps"):
        euler(exact_network, torch.ones(1, 1, 2, 2), steps=0)
