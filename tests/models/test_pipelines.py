"""Networks and samplers together, against whole official runs."""

from __future__ import annotations

import torch

from dimbench.diffusion.convention import Counted
from dimbench.diffusion.gaussian import ddpm
from dimbench.diffusion.guidance import guided
from dimbench.diffusion.ode import sample_ode
from dimbench.diffusion.schedules import schedule
from dimbench.diffusion.transport import find_path
from tests import golden_data as golden
from tests.models.test_golden import build

# Rounding of a network (2e-5) carried through ten steps; the official runs differ as much between thread counts.
TOLERANCE = 1e-4
# The specification's, for dopri5 on a network: rounding noise decides the first step's size.
ADAPTIVE_TOLERANCE = 2e-3
FIXED_TOLERANCE = 2e-6

Y = torch.tensor([207, 360, 1000, 1000])


def stacked(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x])


def test_guided_ddpm_of_dit() -> None:
    pair = guided(build(golden.card("dit/DiT-S-8-256.json")), 1.5, 3)
    start = stacked(golden.latents(2, 4, 32, 32))
    end = ddpm(lambda x, t: pair(x, t, Y), start, schedule("10"), golden.noise)[:2]
    assert golden.relative_error(end, golden.arrays("dit/pipeline-dit-s8-ddpm10.npz")["end"]) <= TOLERANCE


def test_guided_euler_of_sit() -> None:
    pair = guided(build(golden.card("dit/SiT-S-8-256.json")), 1.5, 3)
    start = stacked(golden.latents(2, 4, 32, 32))
    end = sample_ode(lambda x, t: pair(x, t, Y), start, find_path("linear"), method="euler", points=10)[:2]
    assert golden.relative_error(end, golden.arrays("dit/pipeline-sit-s8-ode-euler10.npz")["end"]) <= TOLERANCE


def test_unguided_ode_of_dimsum() -> None:
    model = build(golden.card("dimsum/dimsum-tiny-uncond.json"))
    arrays = golden.arrays("dimsum/sampling.npz")
    calls = golden.card("dimsum/sampling.json")
    for case, method, points, tolerance in (
        ("tiny_uncond_euler_10", "euler", 10, FIXED_TOLERANCE),
        ("tiny_uncond_dopri5_250", "dopri5", 250, ADAPTIVE_TOLERANCE),
    ):
        network = Counted(lambda x, t: model(x, t))
        end = sample_ode(network, arrays["tiny_uncond_x"], find_path("gvp"), method=method, points=points)
        assert golden.relative_error(end, arrays[case]) <= tolerance, case
        assert network.calls == calls[case]["nfe"], case


def test_guided_ode_of_dimsum() -> None:
    pair = guided(build(golden.card("dimsum/dimsum-tiny.json")), 1.4, None)
    y = torch.tensor([3, 10])
    start = stacked(golden.latents(2, 4, 16, 16)[:1])
    end = sample_ode(lambda x, t: pair(x, t, y), start, find_path("gvp"), method="euler", points=10)
    expected = golden.arrays("dimsum/sampling.npz")["tiny_cfg_euler_10"]
    assert golden.relative_error(end, expected) <= FIXED_TOLERANCE
