from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dimbench.diffusion.convention import Counted
from dimbench.diffusion.guidance import adaptive_scale, guided
from dimbench.errors import DimbenchError
from tests import golden_data
from tests.diffusion import toys

X = golden_data.latents(4, 4, 8, 8)
T = torch.tensor([10.0, 700.0, 10.0, 700.0])
Y = torch.tensor([3, 7, toys.NULL, toys.NULL])
PLAIN = toys.gaussian_labelled(torch.cat([X[:2], X[:2]]), T, Y)  # (4, 8, 8, 8), conditional rows first
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}  # float32: null + s (cond - null) for s up to 4


@pytest.mark.parametrize("channels", [3, 4, None])
def test_the_first_channels_are_guided_and_the_others_left(channels: int | None) -> None:
    count = channels or 4
    cond, null = PLAIN[:2], PLAIN[2:]
    out = guided(toys.gaussian_labelled, 4.0, channels)(X, T, Y)
    expected = null + 4.0 * (cond - null)
    assert torch.equal(out[:2, :count], expected[:, :count])
    assert torch.equal(out[2:, :count], expected[:, :count])
    assert torch.equal(out[:, count:], PLAIN[:, count:])


@pytest.mark.parametrize(("scale", "rows"), [(1.0, slice(0, 2)), (0.0, slice(2, 4))])
def test_scale_one_is_conditional_and_scale_zero_is_not(scale: float, rows: slice) -> None:
    out = guided(toys.gaussian_labelled, scale)(X, T, Y)
    torch.testing.assert_close(out[:2, :3], PLAIN[rows, :3], **ROUNDING)


def test_the_second_half_of_x_is_not_read_and_nothing_is_written() -> None:
    network = Counted(toys.gaussian_labelled)
    x = torch.cat([X[:2], torch.full_like(X[:2], math.nan)])
    before = x.clone()
    assert torch.equal(guided(network, 1.5)(x, T, Y), guided(toys.gaussian_labelled, 1.5)(X, T, Y))
    assert network.calls == 1
    assert torch.equal(x[:2], before[:2])


def test_the_output_of_the_network_is_not_written() -> None:
    kept = PLAIN.clone()
    guided(lambda x, t, y: kept, 4.0)(X, T, Y)
    assert torch.equal(kept, PLAIN)


def test_the_adaptive_scale_falls_from_the_largest_to_one() -> None:
    t = torch.linspace(0, 1, 11)
    scales = adaptive_scale(3.8, 4.0)(t)
    assert scales[0].item() == pytest.approx(3.8)
    assert scales[-1].item() == pytest.approx(1.0)
    assert (scales.diff() < 0).sum() >= 8  # flat to float32 next to t = 1
    half = 1 - 0.5 ** (1 / 4)  # (1 - t)^4 = 1/2
    assert adaptive_scale(3.8, 4.0)(torch.tensor([half])).item() == pytest.approx(1 + 2.8 / 2)


def test_the_adaptive_scale_belongs_to_each_sample() -> None:
    t = torch.tensor([0.1, 0.6, 0.1, 0.6])

    def network(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return toys.velocity_labelled(x, t, y)

    out = guided(network, adaptive_scale(), None)(X, t, Y)
    for row in (0, 1):
        scale = adaptive_scale()(t[row : row + 1]).item()
        pair = torch.tensor([row, row + 2])
        alone = guided(network, scale, None)(X[pair], t[pair], Y[pair])
        torch.testing.assert_close(out[pair], alone, **ROUNDING)


def test_an_odd_batch_is_refused() -> None:
    with pytest.raises(DimbenchError, match="3 rows"):
        guided(toys.gaussian_labelled, 4.0)(X[:3], T[:3], Y[:3])
