from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dimbench.diffusion.convention import Counted, evaluate
from dimbench.diffusion.dpm_solver import (
    _FORMS,
    METHODS,
    _step,
    alpha,
    dpm_solver,
    half_log_snr,
    log_alpha,
    orders,
    sigma,
)
from dimbench.diffusion.guidance import guided
from dimbench.diffusion.upsample_guidance import upsampled
from dimbench.errors import UsageError
from tests import golden_data
from tests.diffusion import toys

# Relative to the largest value. The authors' scalars are float32: 1e-6 is seen in both.
GOLDEN = {torch.float32: 2e-5, torch.float64: 2e-6}
# Of times up to 1: the authors' go through a float32 table and back.
TIMES = 6e-8
CASES = [case for case in golden_data.card("dim/sampling.json")["cases"] if not case["file"].startswith("cifar")]


class Watched(Counted):
    """The guided toy network, with what it is called with."""

    def __init__(self, case: dict[str, Any]) -> None:
        super().__init__(self._call)
        self.case = case
        self.seen: list[tuple[Tensor, float]] = []

    def _call(self, x: Tensor, t: Tensor) -> Tensor:
        self.seen.append((x, t[0].item()))
        y = torch.tensor(self.case["y"])
        if self.case["cfg_scale"] == 0:
            return toys.dim_labelled(x, t, y)
        both = torch.cat([y, torch.full_like(y, 1000)])
        pair = guided(toys.dim_labelled, 1 + self.case["cfg_scale"], channels=None)
        return pair(torch.cat([x, x]), torch.cat([t, t]), both)[: len(x)]


@pytest.mark.parametrize("dtype", GOLDEN)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["file"])
def test_trajectories_equal_the_official_ones(case: dict[str, Any], dtype: torch.dtype) -> None:
    golden = golden_data.arrays(f"dim/{case['file']}")
    network = Watched(case)
    ask = upsampled(case["m"]) if "m" in case else evaluate
    method = "dpm-solver++" if case.get("predict_x0") else "dpm-solver"
    x = golden_data.latents(*case["x_shape"]).to(dtype)
    end = dpm_solver(network, x, steps=case["steps"], method=method, ask=ask)

    assert golden_data.relative_error(end, golden["out"]) < GOLDEN[dtype]
    whole = [(x, t) for x, t in network.seen if x.shape == end.shape]
    assert len(whole) == case["nfe"]
    assert [t / 1000 for _, t in whole] == pytest.approx(golden["t"].tolist(), abs=TIMES)
    kept = whole if case["steps"] <= 24 else whole[::5]
    assert golden_data.relative_error(torch.stack([x for x, _ in kept]), golden["x"]) < GOLDEN[dtype]
    if "m" in case:
        low = [(x, t) for x, t in network.seen if x.shape != end.shape]
        assert [t for _, t in low] == pytest.approx(golden["low_t"].tolist(), rel=1e-6)
        assert golden_data.relative_error(torch.stack([x for x, _ in low[:6]]), golden["low_x"]) < GOLDEN[dtype]
        assert 2 * network.calls == case["network_calls"]


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_is_of_its_order(method: str, order: int) -> None:
    """The error of one step falls by 2^(order + 1) when it is halved: on data N(0.5, 0.4^2), where all is known."""
    mean, deviation = 0.5, 0.4

    def estimate(x: Tensor, t: float) -> Tensor:
        noise = sigma(t) * (x - alpha(t) * mean) / ((alpha(t) * deviation) ** 2 + sigma(t) ** 2)
        return noise if method == "dpm-solver" else (x - sigma(t) * noise) / alpha(t)

    def exact(x: Tensor, start: float, end: float) -> Tensor:
        spread = [math.hypot(alpha(t) * deviation, sigma(t)) for t in (start, end)]
        return alpha(end) * mean + spread[1] / spread[0] * (x - alpha(start) * mean)

    x = golden_data.latents(1, 1, 8, 8).double()
    errors = []
    for length in (0.08, 0.04, 0.02, 0.01):
        times = np.linspace(0.5, 0.5 - length, order + 1).tolist()
        errors.append((_step(estimate, x, times, _FORMS[method]) - exact(x, times[0], times[-1])).abs().max().item())
    slopes = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert slopes[-1] == pytest.approx(order + 1, abs=0.3), slopes


def test_the_schedule_is_stable_diffusions() -> None:
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    for n in (1, 500, 1000):
        assert alpha(n / 1000) ** 2 == pytest.approx(np.prod(1 - betas[:n]), rel=1e-6)
    assert log_alpha(0.4321) == pytest.approx(0.9 * log_alpha(0.432) + 0.1 * log_alpha(0.433))
    assert alpha(0.3) ** 2 + sigma(0.3) ** 2 == pytest.approx(1)
    assert half_log_snr(0.3) == pytest.approx(math.log(alpha(0.3) / sigma(0.3)))


def test_orders_use_up_the_calls() -> None:
    assert orders(50) == [3] * 16 + [2]
    assert orders(49) == [3] * 16 + [1]
    assert orders(48) == [3] * 15 + [2, 1]
    assert [orders(n) for n in (1, 2, 3)] == [[1], [2], [2, 1]]
    assert all(sum(orders(n)) == n for n in range(1, 100))


@pytest.mark.parametrize("method", METHODS)
def test_steps_are_reported_with_the_calls_made(method: str) -> None:
    states, network = toys.States(), Counted(toys.gaussian_noise)
    end = dpm_solver(network, golden_data.latents(2, 4, 4, 4), steps=11, method=method, on_step=states)
    assert list(states) == [2, 5, 8, 10]
    assert torch.equal(states[10], end)
    assert network.calls == 11


@pytest.mark.parametrize(
    ("settings", "words"), [({"steps": 0}, "0 steps"), ({"steps": 2.5}, "2.5 steps"), ({"method": "dpm"}, "'dpm'")]
)
def test_what_is_no_solver_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        dpm_solver(toys.gaussian_noise, torch.ones(1, 4, 2, 2), **settings)
