from __future__ import annotations

import math

import pytest
import torch

from dimbench.diffusion.convention import Counted
from dimbench.diffusion.ode import solve
from dimbench.diffusion.sde import _FORMS, sample_sde, sde_calls, sde_interval
from dimbench.diffusion.transport import PATHS, Path, find_path
from dimbench.errors import UsageError
from tests import golden_data
from tests.diffusion import toys

CARD = golden_data.card("dit/diffusion.json")["sit"]["files"]
CASES = [case for case in CARD if case["kind"] == "SiT SDE"]
TABLES = [case for case in CARD if case["kind"] == "SiT path coefficients"]
GOLDEN = 1e-6
"""Relative to the largest value, in float32; 4e-7 is seen."""
SPELLINGS = {"sbdm": "SBDM", "increasing-decreasing": "inccreasing_decreasing"}
"""Our names of the forms whose golden columns are written otherwise."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["file"])
def test_trajectories_equal_the_official_ones(case: dict) -> None:
    golden = golden_data.arrays(f"dit/{case['file']}")
    network, noise, states = Counted(toys.TRANSPORT[case["network"]]), toys.CountedNoise(), toys.States()
    settings = {"last_step": "Mean", "diffusion_norm": 1.0} | case["settings"]
    last_step = settings["last_step"] or "none"
    end = sample_sde(
        network,
        golden["start"],
        find_path(case["path"]),
        noise,
        prediction=case["prediction"],
        method=settings["sampling_method"],
        form=settings["diffusion_form"],
        norm=settings["diffusion_norm"],
        last_step=last_step,
        points=settings["num_steps"],
        on_step=states,
    )
    for k, name in ((10, "state_10"), (25, "state_25"), (48, "before_last_step")):
        assert golden_data.relative_error(states[k], golden[name]) < GOLDEN
    assert golden_data.relative_error(end, golden["end"]) < GOLDEN
    assert torch.equal(states[49], end)
    assert noise.draws == list(range(case["noise_draws"]))
    assert network.calls == sde_calls(settings["sampling_method"], settings["num_steps"], last_step)
    official = 2 * network.calls - (last_step in ("Euler", "Tweedie"))  # twice for each drift
    assert official == case["network_calls"]


@pytest.mark.parametrize("case", TABLES, ids=lambda case: case["path"])
@pytest.mark.parametrize("form", _FORMS)
def test_the_forms_equal_the_official_ones(case: dict, form: str) -> None:
    golden = golden_data.arrays(f"dit/{case['file']}")
    ours = _FORMS[form](find_path(case["path"]), golden["t"], 0.7)
    assert golden_data.relative_error(ours, golden[f"diffusion_{SPELLINGS.get(form, form)}"]) < GOLDEN


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
@pytest.mark.parametrize("form", _FORMS)
def test_every_form_ends_with_the_distribution_of_the_data(path: Path, form: str) -> None:
    """The velocity of N(0.5, 0.3^2) is known; 4 standard errors of 9216 samples and a bias of half a step of 0.005."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 96, 96, generator=generator, dtype=torch.float64)
    if path == find_path("vp"):  # does not quite start from pure noise
        start = torch.zeros((), dtype=torch.float64)
        x = path.alpha(start) * 0.5 + ((path.alpha(start) * 0.3) ** 2 + path.sigma(start) ** 2).sqrt() * x
    end = sample_sde(
        toys.exact_velocity(path, 0.5, 0.3),
        x,
        path,
        lambda k, shape: torch.randn(shape, generator=generator, dtype=torch.float64),
        form=form,
        points=200,
        last_step="euler",
        last_step_size=0.005,
    )
    assert end.mean().item() == pytest.approx(0.5, abs=0.015)
    assert end.std().item() == pytest.approx(0.3, abs=0.015)


@pytest.mark.parametrize(("method", "ode_method"), [("euler", "euler"), ("heun", "heun2")])
def test_without_diffusion_the_steps_are_those_of_the_ode(method: str, ode_method: str) -> None:
    x = golden_data.latents(2, 4, 4, 4).double()
    network = toys.TRANSPORT["velocity"]
    stochastic = sample_sde(
        network, x, find_path("linear"), golden_data.noise, method=method, norm=0.0, last_step="euler", points=20
    )
    before = solve(lambda x, t: network(x, t.expand(len(x))), x, 0.0, 0.96, method=ode_method, points=20)
    last = before + 0.04 * network(before, torch.full((2,), 0.96))
    assert golden_data.relative_error(stochastic, last) < 1e-7  # the network's own times are float32


def test_tweedie_returns_the_mean_of_the_data() -> None:
    """For data that is one point, it is that point from any state."""
    path = find_path("gvp")
    end = sample_sde(
        toys.exact_velocity(path, 0.5, 0.0),
        golden_data.latents(1, 4, 4, 4).double(),
        path,
        golden_data.noise,
        last_step="tweedie",
        points=5,
    )
    torch.testing.assert_close(end, torch.full_like(end, 0.5))


@pytest.mark.parametrize(
    ("path", "prediction", "form", "last_step", "expected"),
    [
        ("linear", "velocity", "sigma", "mean", (0, 0.96)),
        ("linear", "velocity", "sigma", "none", (0, 1)),
        ("linear", "velocity", "SBDM", "Mean", (0.001, 0.96)),
        ("gvp", "score", "sigma", "none", (0.001, 0.999)),
        ("vp", "velocity", "sbdm", "mean", (0, 0.96)),
        ("vp", "noise", "sigma", "none", (0, 0.999)),
    ],
)
def test_the_interval(path: str, prediction: str, form: str, last_step: str, expected: tuple[float, float]) -> None:
    assert sde_interval(find_path(path), prediction, form, last_step, 0.04) == expected


def test_a_broken_network_shows_in_the_sample() -> None:
    end = sample_sde(lambda x, t: x * math.nan, torch.ones(1, 4, 2, 2), find_path("vp"), golden_data.noise, points=5)
    assert end.isnan().all()


def test_the_state_keeps_its_dtype() -> None:
    x = golden_data.latents(2, 4, 4, 4)
    ends = [
        sample_sde(toys.TRANSPORT["velocity"], start, find_path("linear"), golden_data.noise, points=20)
        for start in (x, x.bfloat16())
    ]
    assert ends[1].dtype == torch.bfloat16
    assert golden_data.relative_error(ends[1], ends[0]) < 0.05  # bfloat16 has 8 bits


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "dopri5"}, "'dopri5': use one of euler, heun"),
        (
            {"form": "inccreasing-decreasing"},
            "use one of sbdm, sigma, linear, decreasing, increasing-decreasing, constant",
        ),
        ({"last_step": "final"}, "'final': use one of mean, euler, tweedie, none"),
        ({"prediction": "x0"}, "'x0': use one of velocity, noise, score"),
        ({"points": 1}, "1 grid points"),
        ({"points": "50"}, "'50' grid points"),
        ({"norm": -1.0}, "norm -1"),
        ({"last_step_size": 0.0}, "size 0 is outside 0 to 1"),
        ({"last_step_size": 1.0}, "size 1 is outside 0 to 1"),
        ({"last_step": "none", "method": "heun"}, "choose a last step"),
    ],
)
def test_bad_settings_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        sample_sde(
            toys.TRANSPORT["velocity"], torch.ones(1, 4, 2, 2), find_path("linear"), golden_data.noise, **settings
        )
