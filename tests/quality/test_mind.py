"""MIND against the closed form of Gaussians, and as the larger set is drawn from."""

from __future__ import annotations

import pytest
import torch

from dimbench.quality import mind
from dimbench.quality.mind import monge_distance
from tests.quality.sets import normal


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.5), (2.0, 0.0), (1.5, -1.0)])
def test_gaussians_have_a_closed_form(scale: float, shift: float) -> None:
    """Of means d apart the squared distance along a direction is on average |d|^2 / D + (s - 1)^2."""
    dimensions = 16
    x, y = normal(20_000, dimensions), scale * normal(20_000, dimensions, seed=1) + shift
    expected = 3 * (dimensions * shift**2 + dimensions * (scale - 1) ** 2)
    assert monge_distance(x, y) == pytest.approx(expected, rel=0.05)


def test_a_set_is_at_no_distance_from_itself_in_any_order() -> None:
    x = normal(500, 8)
    assert monge_distance(x, x[torch.randperm(500)]) == pytest.approx(0, abs=1e-9)


def test_of_the_larger_set_as_many_are_taken_as_the_smaller_has() -> None:
    x, y = normal(4000, 8), normal(1000, 8, seed=1) + 1
    assert monge_distance(x, y) == pytest.approx(24, rel=0.1)
    assert monge_distance(x, y) == monge_distance(x, y)


def test_it_is_what_each_direction_gives() -> None:
    x, y = normal(50, 3), 2 * normal(50, 3, seed=1)
    generator = torch.Generator().manual_seed(2020)
    directions = torch.nn.functional.normalize(torch.randn(1000, 3, generator=generator), dim=1)
    each = [((x.float() @ u).sort().values - (y.float() @ u).sort().values).square().mean() for u in directions]
    assert monge_distance(x.float(), y.float()) == pytest.approx(9 * torch.stack(each).mean().item(), rel=1e-4)


def test_of_many_features_fewer_directions_are_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(50, 3), 2 * normal(50, 3, seed=1)
    whole, held, along = monge_distance(x, y), list[int](), mind._along

    def watched(directions: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        found = along(directions, features)
        held.append(found.numel())
        return found

    monkeypatch.setattr(mind, "PROJECTIONS", 350)
    monkeypatch.setattr(mind, "_along", watched)
    assert monge_distance(x, y) == pytest.approx(whole)
    assert max(held) <= 350
