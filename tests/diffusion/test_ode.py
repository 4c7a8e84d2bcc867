from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torchdiffeq import odeint

from dimbench.diffusion.convention import Counted
from dimbench.diffusion.dopri5 import _attempt, _error_ratio, _interpolate
from dimbench.diffusion.guidance import guided
from dimbench.diffusion.ode import ode_calls, sample_ode, solve
from dimbench.diffusion.transport import find_path
from dimbench.errors import UsageError
from tests import golden_data
from tests.diffusion import toys

CASES = [case for case in golden_data.card("dit/diffusion.json")["sit"]["files"] if case["kind"] == "SiT ODE"]
FIXED = {"euler": 1, "heun2": 2, "midpoint": 2, "rk4": 4}
"""Method -> its order, which is also its calls per step."""
GOLDEN = 1e-6
"""Relative to the largest value, for fixed steps in float32; 4e-7 is seen."""
GOLDEN_ADAPTIVE = 1e-5
"""The same for dopri5, whose step lengths carry the rounding of the error norm; 4e-6 is seen."""
FLOAT64 = 1e-9
"""Relative: two float64 orders of one computation; 2e-11 is seen, where rounding moved the step lengths."""
EXACT_END = 5e-3
"""Absolute, against the exact solution: the method's own error at rtol 1e-3."""


def network_of(case: dict) -> Counted:
    if case["network"] != "cfg":
        return Counted(toys.TRANSPORT[case["network"]])
    y = torch.tensor(case["model_kwargs"]["y"])
    labelled = guided(toys.velocity_labelled, case["model_kwargs"]["cfg_scale"])
    return Counted(lambda x, t: labelled(x, t, y))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["file"])
def test_trajectories_equal_the_official_ones(case: dict) -> None:
    golden = golden_data.arrays(f"dit/{case['file']}")
    network, states, settings = network_of(case), toys.States(), case["settings"]
    end = sample_ode(
        network,
        golden["start"],
        find_path(case["path"]),
        prediction=case["prediction"],
        method=settings["sampling_method"],
        points=settings["num_steps"],
        reverse=settings.get("reverse", False),
        on_step=states,
    )
    tolerance = GOLDEN_ADAPTIVE if settings["sampling_method"] == "dopri5" else GOLDEN
    assert golden_data.relative_error(states[9], golden["state_10"]) < tolerance
    assert golden_data.relative_error(states[24], golden["state_25"]) < tolerance
    assert golden_data.relative_error(end, golden["end"]) < tolerance
    assert torch.equal(states[settings["num_steps"] - 2], end)
    assert network.calls == case["network_calls"]
    if "exact_end" in golden:
        assert (end - golden["exact_end"]).abs().max() < EXACT_END


@pytest.mark.parametrize(
    "name", ["dopri5_2", "dopri5_50", "dopri5_250", "euler_50", "heun2_50", "midpoint_50", "rk4_50"]
)
def test_a_known_flow_ends_as_the_official_one(name: str) -> None:
    golden, path = golden_data.arrays("dimsum/sampling.npz"), find_path("gvp")
    method, points = name.split("_")
    network = Counted(toys.exact_velocity(path, 0.5, 0.3))
    end = sample_ode(network, golden["x"], path, method=method, points=int(points))
    assert golden_data.relative_error(end, golden[name]) < 2 * GOLDEN
    assert network.calls == golden_data.card("dimsum/sampling.json")[name]["nfe"]
    assert ode_calls(method, int(points)) == (None if method == "dopri5" else network.calls)


@pytest.mark.parametrize("method", FIXED)
def test_the_error_falls_with_the_order_of_the_method(method: str) -> None:
    path = find_path("gvp")
    x = golden_data.latents(1, 1, 4, 4).double()
    errors = []
    for steps in (10, 20, 40):
        end = sample_ode(toys.exact_velocity(path, 0.5, 0.3), x, path, method=method, points=steps + 1)
        errors.append((end - 0.5 - 0.3 * x).abs().max().item())
    slopes = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert slopes == pytest.approx([FIXED[method]] * 2, abs=0.35)


def test_a_step_of_dopri5_has_its_orders() -> None:
    """On dx/dt = cos(t) x, x = exp(sin t): h^6 for the step, h^5 for its error estimate and the states within."""

    def slope(x: Tensor, t: float) -> Tensor:
        return math.cos(t) * x

    def solution(t: float) -> Tensor:
        return torch.tensor([[math.exp(math.sin(t))]], dtype=torch.float64)

    start, first = solution(0.5), slope(solution(0.5), 0.5)
    ends, estimates, within = [], [], []
    for h in (0.1, 0.05, 0.025):
        step = _attempt(slope, start, first, 0.5, h)
        ends.append((step.x1 - solution(0.5 + h)).abs().item())
        estimates.append(_error_ratio(step, rtol=0, atol=1))
        within.append((_interpolate(step, 0.5 + 0.3 * h) - solution(0.5 + 0.3 * h)).abs().item())
    for errors, order in ((ends, 6), (estimates, 5), (within, 5)):
        assert [math.log2(coarse / fine) for coarse, fine in pairwise(errors)] == pytest.approx([order] * 2, abs=0.4)


def rough(x: Tensor, t: Tensor) -> Tensor:
    return 3 * torch.cos(15 * t) * torch.tanh(3 * x) - 2 * x + 1


@pytest.mark.parametrize("span", [(0.0, 1.0), (1.0, 0.0), (-0.5, 2.0)])
@pytest.mark.parametrize(
    ("rtol", "atol", "size"), [(1e-3, 1e-6, 1), (1e-5, 1e-5, 1), (1e-5, 1e-5, 1e-3), (1e-8, 1e-9, 1)]
)
def test_dopri5_takes_the_steps_of_torchdiffeq(
    span: tuple[float, float], rtol: float, atol: float, size: float
) -> None:
    x = size * golden_data.latents(2, 3, 4, 4).double()
    ours, theirs, states = Counted(rough), Counted(lambda t, x: rough(x, t)), toys.States()
    end = solve(ours, x, *span, points=7, rtol=rtol, atol=atol, on_step=states)
    expected = odeint(theirs, x, torch.linspace(*span, 7, dtype=torch.float64), method="dopri5", rtol=rtol, atol=atol)
    assert ours.calls == theirs.calls
    assert golden_data.relative_error(end, expected[-1]) < FLOAT64
    assert golden_data.relative_error(states[2], expected[3]) < FLOAT64


@pytest.mark.parametrize("method", FIXED)
def test_fixed_steps_are_those_of_torchdiffeq(method: str) -> None:
    x = golden_data.latents(2, 3, 4, 4).double()
    grid = torch.linspace(1, -0.5, 9, dtype=torch.float64)
    expected = odeint(lambda t, x: rough(x, t), x, grid, method=method)[-1]
    assert golden_data.relative_error(solve(rough, x, 1.0, -0.5, method=method, points=9), expected) < FLOAT64


def test_an_error_of_zero_lets_the_step_grow_tenfold() -> None:
    drift = Counted(lambda x, t: torch.zeros_like(x))
    x = torch.ones(1, 1, 2, 2)
    assert torch.equal(solve(drift, x, 0.0, 1.0), x)
    assert drift.calls == 2 + 6 * 7  # steps of 1e-6, 1e-5, ... pass t = 1 with the seventh


def test_reversing_returns_to_the_start() -> None:
    path, x = find_path("linear"), golden_data.latents(2, 4, 4, 4).double()
    data = sample_ode(toys.TRANSPORT["velocity"], x, path, rtol=1e-9, atol=1e-9)
    back = sample_ode(toys.TRANSPORT["velocity"], data, path, rtol=1e-9, atol=1e-9, reverse=True)
    assert golden_data.relative_error(back, x) < 1e-7


@pytest.mark.parametrize("prediction", ["noise", "score"])
def test_dopri5_backs_off_where_a_coefficient_ends(prediction: str) -> None:
    """VP has no sigma beyond t = 1, where unshortened steps would call the network."""
    path, x = find_path("vp"), golden_data.latents(2, 4, 4, 4)
    network = toys.TRANSPORT[prediction]
    end = sample_ode(network, x, path, prediction=prediction)
    fine = sample_ode(network, x, path, prediction=prediction, method="rk4", points=1001)
    assert golden_data.relative_error(end, fine) < EXACT_END


@pytest.mark.parametrize("method", [*FIXED, "dopri5"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_network_shows_in_the_sample(method: str, value: float) -> None:
    for breaks_at in (-1.0, 0.5):
        end = sample_ode(
            lambda x, t, b=breaks_at: torch.where(t.view(-1, 1, 1, 1) > b, value, x),
            torch.ones(1, 4, 2, 2),
            find_path("linear"),
            method=method,
            points=10,
        )
        assert not end.isfinite().any()


@pytest.mark.parametrize("method", ["euler", "dopri5"])
def test_the_state_keeps_its_dtype_and_time_its_digits(method: str) -> None:
    times = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        times.append(t)
        return toys.TRANSPORT["velocity"](x.float(), t)

    x = golden_data.latents(2, 4, 4, 4)
    path = find_path("linear")
    end = sample_ode(network, x.bfloat16(), path, method=method, points=20)
    assert end.dtype == torch.bfloat16
    assert {t.dtype for t in times} == {torch.float32}
    expected = sample_ode(network, x, path, method=method, points=20)
    assert golden_data.relative_error(end, expected) < 0.05  # bfloat16 has 8 bits


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "heun"}, "'heun': use one of euler, heun2, midpoint, rk4, dopri5"),
        ({"prediction": "x0"}, "'x0': use one of velocity, noise, score"),
        ({"points": 0}, "0 grid points"),
        ({"points": 1}, "1 grid points"),
        ({"points": -3}, "-3 grid points"),
        ({"points": 2.5}, "2.5 grid points"),
        ({"rtol": 0.0}, "rtol 0 and atol 1e-06"),
        ({"atol": -1.0}, "give positive ones"),
    ],
)
def test_bad_settings_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        sample_ode(toys.TRANSPORT["velocity"], torch.ones(1, 4, 2, 2), find_path("linear"), **settings)


@pytest.mark.parametrize("method", ["euler", "dopri5"])
def test_the_way_back_from_no_noise_needs_more_than_an_estimate_of_it(method: str) -> None:
    with pytest.raises(UsageError, match="predicts velocity or score"):
        sample_ode(
            toys.TRANSPORT["noise"],
            torch.ones(1, 4, 2, 2),
            find_path("vp"),
            prediction="noise",
            method=method,
            reverse=True,
        )
