from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dimbench.diffusion.process import find_process
from dimbench.diffusion.two_times import (
    ImprovedMeanFlow,
    MeanFlow,
    guided_velocity,
    mean_flow_error,
    sample_average,
    with_change,
)
from dimbench.errors import UsageError
from tests import golden_data

X = golden_data.latents(3, 2, 4, 4)
MEAN, SPREAD = 0.7, 0.5


def flow_map(z: Tensor, t: Tensor, r: Tensor) -> Tensor:
    """Where the flow carries z from time t to time r, for data of N(MEAN, SPREAD^2): deviations keep their share."""
    spread = [((1 - s) ** 2 * SPREAD**2 + s**2).sqrt() for s in (t, r)]
    return (1 - r) * MEAN + spread[1] / spread[0] * (z - (1 - t) * MEAN)


def velocity(z: Tensor, t: Tensor) -> Tensor:
    spread = (1 - t) ** 2 * SPREAD**2 + t**2
    return -MEAN + (t - (1 - t) * SPREAD**2) / spread * (z - (1 - t) * MEAN)


def average(z: Tensor, times: Tensor) -> Tensor:
    """The exact answer."""
    t, r = (time.view(-1, 1, 1, 1) for time in times.double().unbind(1))
    same = t == r
    return torch.where(same, velocity(z, t), (z - flow_map(z, t, r)) / torch.where(same, 1.0, t - r))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_who_knows_the_averages_needs_one_step(steps: int) -> None:
    end = sample_average(average, X.double(), steps)
    torch.testing.assert_close(end, MEAN + SPREAD * X.double())


def test_the_identity_holds_for_the_exact_answer_along_its_own_path() -> None:
    t, r = torch.tensor([0.9, 0.7, 0.4]).double(), torch.tensor([0.1, 0.3, 0.39]).double()
    z = X.double()
    along = velocity(z, t.view(-1, 1, 1, 1))
    error = mean_flow_error(average, z, t, r, along)
    torch.testing.assert_close(error, torch.zeros_like(z), atol=1e-9, rtol=0)
    assert mean_flow_error(average, z, t, r, along + 0.1).abs().max() > 1e-2


def test_the_change_is_the_slope_of_moving_along_the_path() -> None:
    t, r, speed = torch.tensor([0.9, 0.7, 0.4]).double(), torch.tensor([0.1, 0.3, 0.2]).double(), X.double().flip(0)
    _, change = with_change(average, X.double(), t, r, speed)
    step = 1e-5
    ends = [average(X.double() + s * speed, torch.stack([t + s, r], 1)) for s in (-step, step)]
    torch.testing.assert_close(change, (ends[1] - ends[0]) / (2 * step), atol=1e-7, rtol=1e-6)


def test_guidance_inside_is_an_affine_mix() -> None:
    def network(x: Tensor, times: Tensor) -> Tensor:
        assert torch.equal(times[:, 0], times[:, 1])
        return torch.full_like(x, 2.0)

    mixed = guided_velocity(network, lambda x, t: torch.full_like(x, 3.0), X, torch.rand(3), X, 0.2, 0.92)
    torch.testing.assert_close(mixed, 0.2 * X + 0.92 * 2 - 0.12 * 3)


def test_times_of_training_come_in_their_order_and_some_are_one() -> None:
    t, r = MeanFlow(apart=0.25)._times(20000, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert (r <= t).all()
    assert (r < t).double().mean().item() == pytest.approx(0.25, abs=0.02)  # 4 standard deviations of 20000 draws


@pytest.mark.parametrize("name", ["mean-flow", "improved-mean-flow"])
def test_a_network_learns_from_the_loss(name: str) -> None:
    class Affine(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor([0.5, -0.5]))

        def forward(self, x: Tensor, times: Tensor) -> Tensor:
            u = self.scale[0] * x + self.scale[1] * times[:, :1, None, None]
            return u if name == "mean-flow" else torch.cat([u, u], dim=1)

    network, process = Affine(), find_process({"process": name})
    losses = process.loss(network, X, torch.Generator().manual_seed(0))
    assert losses.shape == (3,)
    losses.mean().backward()
    assert (network.scale.grad.abs() > 0).all()  # type: ignore[union-attr]


def test_times_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(UsageError, match=r"from 0.8 to 0.5 ends before it starts; give r of at most t"):
        with_change(average, X, torch.full((3,), 0.5), torch.full((3,), 0.8), X)


def test_training_without_the_second_head_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no second head .* --set disable_v_head=false"):
        ImprovedMeanFlow().loss(lambda x, t: x, X, torch.Generator().manual_seed(0))


def test_noise_may_have_a_deviation_of_its_own() -> None:
    seen: list[Tensor] = []

    def network(x: Tensor, times: Tensor) -> Tensor:
        seen.append(x)
        return torch.zeros_like(x)

    process = find_process({"process": "improved-mean-flow", "noise_scale": 2.0, "clamp": 0.05})
    process.sample(network, X, golden_data.noise, "average", 1)
    assert torch.equal(seen[0], 2 * X)


@pytest.mark.parametrize(("sampler", "steps", "words"), [("euler", 1, "unknown sampler"), ("average", 0, "0 steps")])
def test_what_cannot_be_drawn_is_refused(sampler: str, steps: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        MeanFlow().check(sampler, steps)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"apart": 3}, "apart 3 .* 0 to 1"), ({"std": 0}, "std 0 .* above 0"), ({"clamp": float("nan")}, "clamp nan")],
)
def test_what_no_times_are_drawn_from_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        find_process({"process": "improved-mean-flow", **settings})
