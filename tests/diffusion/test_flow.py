from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dimbench.diffusion.convention import Counted
from dimbench.diffusion.flow import Flow, flow_errors, sample_flow
from dimbench.diffusion.guidance import guided, within
from dimbench.diffusion.process import find_process
from dimbench.errors import UsageError
from tests import golden_data

X = golden_data.latents(3, 2, 4, 4)
MEAN, SPREAD = 0.7, 0.5


def marginal(t: Tensor, x: Tensor, noise_at: int) -> tuple[Tensor, Tensor]:
    """Best guesses of data and noise at x, where data are N(MEAN, SPREAD^2) in every place."""
    n = (t if noise_at else 1 - t).view(-1, *[1] * (x.ndim - 1))
    spread = ((1 - n) * SPREAD) ** 2 + n**2
    deviation = x - (1 - n) * MEAN
    return MEAN + (1 - n) * SPREAD**2 / spread * deviation, n / spread * deviation


def velocity(noise_at: int) -> Any:
    def network(x: Tensor, t: Tensor) -> Tensor:
        data, noise = marginal(t, x, noise_at)
        return noise - data if noise_at else data - noise

    return network


@pytest.mark.parametrize("noise_at", [0, 1])
@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2)])
def test_methods_converge_at_their_order_to_the_image_of_the_noise(noise_at: int, method: str, order: int) -> None:
    """The flow of a Gaussian is affine, so its end is known; one Euler step at the end costs Heun no order."""
    x, flow = X.double(), Flow(noise_at=noise_at, grid="steps")
    errors = []
    for steps in (40, 80):
        times = flow.times(steps).double()
        end = sample_flow(velocity(noise_at), x, flow, times, method)
        errors.append((end - (MEAN + SPREAD * x)).abs().max().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


def test_data_predicted_are_the_velocity_predicted() -> None:
    whole = Flow(grid="steps").sample(velocity(0), X, golden_data.noise, "heun", 8)
    data = Flow(grid="steps", prediction="data").sample(
        lambda x, t: marginal(t, x, 0)[0], X, golden_data.noise, "heun", 8
    )
    torch.testing.assert_close(data, whole, atol=1e-5, rtol=0)  # float32: division by shares from 1/8 up


def test_the_clamp_holds_the_last_step_back() -> None:
    flow = Flow(grid="steps", prediction="data", clamp=0.05)
    x, image = X, torch.ones_like(X)
    times = torch.tensor([0.98, 1.0])
    ours = sample_flow(lambda x, t: image, x, flow, times, "euler")
    torch.testing.assert_close(ours, x + 0.4 * (image - x))


def test_grids_hold_the_times_they_promise() -> None:
    torch.testing.assert_close(Flow(grid="steps").times(4), torch.linspace(0, 1, 5))
    torch.testing.assert_close(Flow(grid="points").times(5), torch.linspace(0, 1, 5))
    leap = Flow(grid="leap", stop=0.96).times(3)
    torch.testing.assert_close(leap, torch.tensor([0.0, 0.48, 0.96, 1.0]))
    back = Flow(noise_at=1, stop=0.999, shift=6.0).times(3)
    moved = [6 * t / (1 + 5 * t) for t in (1.0, 0.5005, 0.001)]
    torch.testing.assert_close(back, torch.tensor(moved), rtol=1e-4, atol=0)  # float32: 1 - 0.999
    assert [len(Flow(grid=grid).times(6)) for grid in ("steps", "points", "leap")] == [7, 6, 7]


def test_heun_makes_two_calls_a_step_and_one_in_the_last() -> None:
    for method, calls in (("heun", 9), ("euler", 5)):
        network = Counted(velocity(0))
        Flow(grid="steps").sample(network, X, golden_data.noise, method, 5)
        assert network.calls == calls


def test_a_network_is_told_times_on_its_own_scale_and_noise_has_its_own() -> None:
    told: list[float] = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        told.append(t[0].item())
        return torch.zeros_like(x)

    flow = Flow(noise_at=1, time_scale=1000.0, noise_scale=2.0, grid="steps")
    assert torch.equal(flow.sample(network, X, golden_data.noise, "euler", 2), 2 * X)
    assert told == [1000.0, 500.0]
    flow_errors(network, X, X, torch.tensor([0.1, 0.2, 0.3]), flow)
    assert told[-1] == pytest.approx(100.0)


@pytest.mark.parametrize(("noise_at", "prediction"), [(0, "velocity"), (1, "velocity"), (0, "data")])
def test_who_knows_the_answer_has_no_loss(noise_at: int, prediction: str) -> None:
    noise = golden_data.unit("input.noise", *X.shape)
    answer = X if prediction == "data" else (noise - X if noise_at else X - noise)
    flow = Flow(noise_at=noise_at, prediction=prediction, cosine=True)
    squared, cosine = flow_errors(lambda x, t: answer, X, noise, torch.tensor([0.1, 0.5, 0.9]), flow)
    torch.testing.assert_close(squared, torch.zeros(3))
    torch.testing.assert_close(cosine, torch.zeros(3), atol=1e-6, rtol=0)
    squared, cosine = flow_errors(lambda x, t: -answer, X, noise, torch.tensor([0.1, 0.5, 0.9]), Flow(noise_at))
    assert (squared > 0.1).all()


def test_training_times_are_the_sigmoid_of_a_normal() -> None:
    times: list[Tensor] = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        times.append(t)
        return torch.zeros_like(x)

    settings = {"process": "rectified-flow", "prediction": "data", "mean": -0.8, "std": 0.8}
    process = find_process(settings)
    losses = process.loss(network, torch.zeros(20000, 1, 1, 1), torch.Generator().manual_seed(0))
    assert losses.shape == (20000,)
    logits = torch.logit(times[0])
    assert logits.mean().item() == pytest.approx(-0.8, abs=0.02)  # 4 standard deviations of 20000 draws
    assert logits.std().item() == pytest.approx(0.8, abs=0.02)


def test_shifted_training_draws_shifted_times() -> None:
    drawn: list[Tensor] = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        drawn.append(t)
        return torch.zeros_like(x)

    for shifted in (False, True):
        flow = Flow(noise_at=1, shift=4.0, shift_training=shifted)
        flow.loss(network, X, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn[1], 4 * drawn[0] / (1 + 3 * drawn[0]))


def test_guidance_keeps_to_its_interval() -> None:
    def network(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return y.view(-1, 1, 1, 1).expand_as(x).float()

    t = torch.tensor([0.1, 0.2, 0.5])
    x, y = torch.zeros(6, 1, 1, 1), torch.tensor([1, 1, 1, 0, 0, 0])
    open_, closed = within(3.0, 0.1, 0.5), within(3.0, 0.1, 0.5, ends=True)
    assert guided(network, open_, None)(x, t.repeat(2), y)[:3].flatten().tolist() == [1, 3, 1]
    assert guided(network, closed, None)(x, t.repeat(2), y)[:3].flatten().tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prediction": "score"}, "unknown prediction 'score'"),
        ({"grid": "even"}, "unknown grid 'even': use one of steps, points, leap"),
        ({"prediction": "data", "noise_at": 1}, "noise at time 0"),
        ({"shift": -1.0}, "shift -1 .* above 0"),
        ({"clamp": 0.0}, "clamp 0 .* above 0"),
        ({"std": math.inf}, "std inf .* above 0"),
        ({"mean": math.nan}, "mean nan .* finite number$"),
        ({"stop": 1.5}, "stop 1.5 .* at most 1"),
        ({"terminal": 1.0}, "terminal 1 .* below 1"),
        ({"noise_at": 2}, "noise_at 2 .* 0 or 1"),
        ({"shift_by_steps": [1.0]}, "no line; give .few, there, many, here."),
    ],
)
def test_flows_that_there_are_not_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Flow(**settings)


@pytest.mark.parametrize(("grid", "steps"), [("points", 1), ("steps", 0), ("leap", 0)])
def test_too_few_steps_are_refused(grid: str, steps: int) -> None:
    with pytest.raises(UsageError, match=str(steps)):
        Flow(grid=grid).check("euler", steps)
    with pytest.raises(UsageError, match="unknown sampler 'dopri5': use one of euler, heun"):
        Flow(grid=grid).check("dopri5", 5)
