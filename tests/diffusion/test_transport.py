from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dimbench.diffusion.transport import (
    PATHS,
    PREDICTIONS,
    Path,
    find_path,
    interpolate,
    sampling_interval,
    to_score,
    to_velocity,
    training_interval,
    transport_loss,
)
from dimbench.errors import UsageError
from tests import golden_data
from tests.diffusion import toys

CASES = golden_data.card("dit/diffusion.json")["sit"]["files"]
TABLES = [case for case in CASES if case["kind"] == "SiT path coefficients"]
LOSSES = [case for case in CASES if case["kind"] == "SiT training loss"]
GOLDEN = 1e-6
"""Relative: a few float32 operations; 3e-7 is seen, from other roundings of sine and square root."""
EXACT = 1e-9
"""Relative, for identities in float64, with room for the cancellation near t = 1."""
all_paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())


@pytest.mark.parametrize("case", TABLES, ids=lambda case: case["path"])
def test_the_coefficients_equal_the_official_ones(case: dict) -> None:
    golden = golden_data.arrays(f"dit/{case['file']}")
    path, t = find_path(case["path"]), golden["t"]
    one = torch.ones_like(t)
    ours = {
        "alpha": path.alpha(t),
        "d_alpha": path.d_alpha(t),
        "sigma": path.sigma(t),
        "d_sigma": path.d_sigma(t),
        "alpha_ratio": path.alpha_ratio(t),
        "drift_of_one": path.drift(one, t),
        "drift_var": path.drift_var(t),
        "score_from_velocity_v1_x1": path.score_from_velocity(one, one, t),
        "noise_from_velocity_v1_x1": path.noise_from_velocity(one, one, t),
        "velocity_from_score_s1_x1": path.velocity_from_score(one, one, t),
    }
    for name, values in ours.items():  # elementwise: the columns span five orders of magnitude
        torch.testing.assert_close(values, golden[name], rtol=GOLDEN, atol=0, msg=name)


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case["file"])
def test_the_losses_equal_the_official_ones(case: dict) -> None:
    golden = golden_data.arrays(f"dit/{case['file']}")
    path, prediction = find_path(case["path"]), case["prediction"]
    x1, x0 = golden["x1"], golden["x0"]
    start, end = training_interval(path, prediction)
    t = start + (end - start) * torch.tensor(case["uniform_draw"])
    x, velocity = interpolate(path, x1, x0, t.view(-1, 1, 1, 1))
    loss = transport_loss(
        toys.TRANSPORT[prediction], x1, x0, t, path, prediction=prediction, weight=case["loss_weight"] or "none"
    )
    for name, values in (("t", t), ("xt", x), ("ut", velocity), ("loss", loss)):
        assert golden_data.relative_error(values, golden[name]) < GOLDEN, name


@all_paths
def test_the_derivatives_are_those_of_the_coefficients(path: Path) -> None:
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64, requires_grad=True)
    for function, derivative in ((path.alpha, path.d_alpha), (path.sigma, path.d_sigma)):
        values = function(t)
        (slope,) = torch.autograd.grad(values.sum() + 0 * t.sum(), t)
        torch.testing.assert_close(derivative(t), slope, rtol=EXACT, atol=EXACT)


@all_paths
def test_the_forward_variance_has_one_meaning_on_all_paths(path: Path) -> None:
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    expected = path.d_alpha(t) / path.alpha(t) * path.sigma(t) ** 2 - path.sigma(t) * path.d_sigma(t)
    torch.testing.assert_close(path.drift_var(t), expected, rtol=EXACT, atol=EXACT)


@all_paths
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_all_predictions_of_known_data_give_its_velocity_and_score(path: Path, prediction: str) -> None:
    mean, deviation = 0.5, 0.3
    x = golden_data.latents(7, 1, 4, 4).double()
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64).view(-1, 1, 1, 1)
    velocity = toys.exact_velocity(path, mean, deviation)(x, t)
    variance = (path.alpha(t) * deviation) ** 2 + path.sigma(t) ** 2
    score = (path.alpha(t) * mean - x) / variance
    noise = path.noise_from_velocity(velocity, x, t)
    torch.testing.assert_close(noise, -path.sigma(t) * score, rtol=EXACT, atol=EXACT)

    out = {"velocity": velocity, "noise": noise, "score": score}[prediction]
    torch.testing.assert_close(to_velocity(path, prediction, out, x, t), velocity, rtol=EXACT, atol=EXACT)
    torch.testing.assert_close(to_score(path, prediction, out, x, t), score, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize(
    ("path", "prediction", "training", "sampling"),
    [
        ("linear", "velocity", (0, 1), (0, 1)),
        ("GVP", "noise", (0.001, 0.999), (0.001, 0.999)),
        ("linear", "score", (0.001, 0.999), (0.001, 0.999)),
        ("vp", "velocity", (0, 0.99999), (0, 0.999)),
        ("vp", "score", (0, 0.99999), (0, 0.999)),
    ],
)
def test_intervals_avoid_what_is_singular(path: str, prediction: str, training: tuple, sampling: tuple) -> None:
    assert training_interval(find_path(path), prediction) == training
    assert sampling_interval(find_path(path), prediction) == sampling


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("weight", ["none", "velocity", "likelihood"])
def test_a_perfect_network_has_no_loss_and_a_weight_is_a_factor(prediction: str, weight: str) -> None:
    path, t = find_path("gvp"), torch.tensor([0.3, 0.6])
    x1, x0 = golden_data.latents(2, 4, 4, 4), golden_data.noise(0, (2, 4, 4, 4))
    time = t.view(-1, 1, 1, 1)
    perfect = {"velocity": interpolate(path, x1, x0, time)[1], "noise": x0, "score": -x0 / path.sigma(time)}[prediction]
    if prediction == "velocity" and weight != "none":
        with pytest.raises(UsageError, match="leave it out"):
            transport_loss(lambda x, t: perfect, x1, x0, t, path, prediction=prediction, weight=weight)
        return

    def loss(network: toys.Network) -> Tensor:
        return transport_loss(network, x1, x0, t, path, prediction=prediction, weight=weight)

    torch.testing.assert_close(loss(lambda x, t: perfect), torch.zeros(2), atol=1e-12, rtol=0)
    sigma, q = path.sigma(t), path.drift_var(t)
    factor = {"none": torch.ones(2), "velocity": (q / sigma) ** 2, "likelihood": q / sigma**2}[weight]
    scale = sigma**2 if prediction == "score" else 1
    torch.testing.assert_close(loss(lambda x, t: perfect + 1), factor * scale)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'cosine': use one of linear, gvp, vp"):
        find_path("cosine")
    with pytest.raises(UsageError, match="'x0': use one of velocity, noise, score"):
        sampling_interval(find_path("vp"), "x0")
    x = torch.zeros(1, 4, 2, 2)
    with pytest.raises(UsageError, match="'snr': use one of none, velocity, likelihood"):
        transport_loss(lambda x, t: x, x, x, torch.zeros(1), find_path("vp"), weight="snr")
