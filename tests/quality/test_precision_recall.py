from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dimbench.errors import UsageError
from dimbench.quality import precision_recall as module
from dimbench.quality.precision_recall import precision_recall
from tests.quality.sets import normal


def by_loops(generated: Tensor, reference: Tensor, k: int) -> tuple[float, float]:
    def share_within(points: Tensor, centres: Tensor) -> float:
        radii = [sorted((c - other).norm().item() for other in centres)[k] for c in centres]
        inside = [any((p - c).norm().item() <= r for c, r in zip(centres, radii, strict=True)) for p in points]
        return sum(inside) / len(inside)

    return share_within(generated, reference), share_within(reference, generated)


@pytest.mark.parametrize("k", [1, 3])
def test_plain_loops_agree(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    monkeypatch.setattr(module, "TILE", 7)
    generated, reference = normal(30, 3, mean=1), normal(40, 3, seed=1)
    ours = precision_recall(generated, reference, k)
    assert ours == by_loops(generated, reference, k)
    assert min(ours) > 0
    assert max(ours) < 1


def in_float64(generated: Tensor, reference: Tensor, k: int) -> tuple[float, float]:
    """By differences, of which none is rounded for whole numbers."""

    def within(points: Tensor, centres: Tensor) -> float:
        radii = (centres[:, None] - centres).square().sum(dim=2).kthvalue(k + 1).values
        return ((points[:, None] - centres).square().sum(dim=2) <= radii).any(dim=1).double().mean().item()

    return within(generated, reference), within(reference, generated)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_are_decided_as_in_float64(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """On a grid far from zero nearly all distances are ties, and float32 cannot tell them from their neighbours."""
    monkeypatch.setattr(module, "TILE", 50)
    monkeypatch.setattr(module, "ROWS", 9)
    generator = torch.Generator().manual_seed(0)
    generated, reference = (torch.randint(4, (n, 12), generator=generator).to(dtype) + 3000 for n in (120, 130))
    generated[0] += 5000  # one far away makes all others' errors large
    reference[:3] = generated[1]
    ours = precision_recall(generated, reference)
    assert ours == in_float64(generated.double(), reference.double(), 3)
    assert 0.1 < min(ours) < max(ours) < 1


def test_neighbours_that_float32_cannot_order() -> None:
    """Steps of a thousandth, two hundred and more from the centre: squares differ by 1e-6 of 6e4."""
    generator = torch.Generator().manual_seed(0)
    generated, reference = (torch.randint(30, (200, 6), generator=generator).double() / 1024 for _ in range(2))
    sign = torch.arange(200)[:, None] % 2 * 200.0 - 100
    ours = precision_recall(generated + sign, reference + sign)
    assert ours == in_float64(generated + sign, reference + sign, 3)
    assert 0.1 < min(ours) < max(ours) < 1


@pytest.mark.parametrize("gap", [1e-7, -1e-7])
def test_a_gap_that_float32_cannot_see_decides(gap: float) -> None:
    reference = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 50.0], [0.0, 50.0]]).double()  # balls of radius 1
    generated = torch.tensor([[0.0, -1.0 - gap], [10.0, 0.0]]).double()
    assert precision_recall(generated, reference, k=1)[0] == (0.5 if gap < 0 else 0)


def test_a_line_has_a_closed_form() -> None:
    reference = torch.tensor([[0.0], [1.0], [2.0], [3.0]])  # with k = 1 the balls cover [-1, 4]
    generated = torch.tensor([[-1.0], [4.0], [4.001], [9.0]])  # the ball of -1 covers [-6, 4]
    assert precision_recall(generated, reference, k=1) == (0.5, 1.0)


def test_a_set_covers_itself() -> None:
    assert precision_recall(normal(100, 8), normal(100, 8)) == (1.0, 1.0)


def test_a_common_shift_changes_nothing() -> None:
    generated, reference = normal(30, 3, mean=1), normal(40, 3, seed=1)
    assert precision_recall(generated + 1e6, reference + 1e6) == precision_recall(generated, reference)


def test_copies_lie_at_no_distance_in_spite_of_rounding() -> None:
    """Balls of radius zero hold their centre: distances as the difference of large squares are off by 1e-13."""
    points = normal(101, 512, mean=10)
    assert precision_recall(points.repeat(5, 1), points) == (1.0, 1.0)


def test_sets_far_apart_share_nothing() -> None:
    assert precision_recall(normal(50, 4), normal(50, 4, seed=1, mean=100)) == (0.0, 0.0)


def test_a_collapsed_generator_is_precise_and_recalls_one_image() -> None:
    reference = normal(50, 8)
    assert precision_recall(reference[:1].repeat(50, 1), reference) == (1.0, 1 / 50)


def test_torch_fidelity_agrees() -> None:
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    generated, reference = normal(200, 6, mean=0.5), normal(150, 6, seed=1)
    theirs = calculate_precision_recall_full(generated, reference)
    assert precision_recall(generated, reference) == pytest.approx(theirs, abs=1e-6)  # theirs are means in float32


def test_too_few_for_the_neighbours() -> None:
    with pytest.raises(UsageError, match="more than 3 images in each set but got 10 generated and 3 reference"):
        precision_recall(normal(10, 2), normal(3, 2))
