from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dimbench.diffusion.convention import Counted
from dimbench.diffusion.upsample_guidance import _CANDIDATE_STEPS, low_time, upsampled
from tests import golden_data

ROUNDING = 1e-6


@pytest.mark.parametrize("factor", [2, 3])
def test_the_means_become_those_of_the_reduced_image(factor: int) -> None:
    side = 4 * factor

    def network(x: Tensor, t: Tensor) -> Tensor:
        return 0.3 * x + t.view(-1, 1, 1, 1) / 1000 if x.shape[-1] == side else torch.full_like(x, 6.0)

    x = golden_data.latents(2, 4, side, side)
    led = upsampled(factor)(network, x, 900.0, torch.float32)
    means = torch.nn.functional.avg_pool2d(led, factor)
    assert means == pytest.approx(6.0 / factor, abs=ROUNDING)
    details = led - means.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    plain = network(x, torch.zeros(2))
    plain_means = torch.nn.functional.avg_pool2d(plain, factor)
    expected = plain - plain_means.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    assert details == pytest.approx(expected, abs=ROUNDING)


def test_the_last_times_are_left_alone() -> None:
    network = Counted(lambda x, t: x)
    x = golden_data.latents(1, 4, 4, 4)
    ask = upsampled(2)
    assert torch.equal(ask(network, x, 699.9, torch.float32), x)
    assert network.calls == 1
    assert not torch.equal(ask(network, x, 700.0, torch.float32), x)
    assert network.calls == 3


def test_pure_noise_stays_pure_noise_when_reduced() -> None:
    """At the first time the reduced image has nearly unit variance again."""
    seen: list[Tensor] = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        seen.append(x)
        return x

    x = torch.randn(1, 1, 512, 512, generator=torch.Generator().manual_seed(0))
    upsampled(2)(network, x, 1000.0, torch.float32)
    # 4 standard errors of a variance of 256^2 values; 0.5 % of data are left in the noise
    assert seen[1].var().item() == pytest.approx(1, abs=4 * (2 / 256**2) ** 0.5 + 0.015)


def test_a_reduced_image_is_cleaner_so_its_time_is_earlier() -> None:
    times = [low_time(told, 2) for told in (999.0, 900.0, 800.0, 700.0)]
    assert times == sorted(times, reverse=True)
    assert all(time <= told / 1000 for time, told in zip(times, (999.0, 900.0, 800.0, 700.0), strict=True))
    assert low_time(800.0, 3) < low_time(800.0, 2) < 0.8


def test_the_authors_roundings_are_kept() -> None:
    low = [i for i, step in enumerate(_CANDIDATE_STEPS) if step != 999 - i]
    assert low == [488, 493, 497, 746, 748]
