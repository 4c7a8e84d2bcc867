from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dimbench.diffusion.convention import Counted
from dimbench.diffusion.dpm_solver import dpm_solver
from dimbench.diffusion.gaussian import ddim, ddpm
from dimbench.diffusion.ode import sample_ode
from dimbench.diffusion.schedules import schedule
from dimbench.diffusion.sde import sample_sde
from dimbench.diffusion.transport import find_path
from dimbench.diffusion.vp_sde import euler
from tests import golden_data
from tests.diffusion import toys

SAMPLERS = {
    "ddpm": lambda network, x: ddpm(network, x, schedule("10"), golden_data.noise),
    "ddim": lambda network, x: ddim(network, x, schedule("10"), golden_data.noise, eta=1.0),
    "ode": lambda network, x: sample_ode(network, x, find_path("vp"), prediction="noise", method="heun2", points=5),
    "dpm": lambda network, x: dpm_solver(network, x, steps=10),
    "vp": lambda network, x: euler(network, x, golden_data.noise, steps=10),
    "sde": lambda network, x: sample_sde(
        network, x, find_path("gvp"), golden_data.noise, last_step="tweedie", points=5
    ),
}


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())
def test_all_that_the_network_sees_lies_on_the_device_of_x(sampler: toys.Network) -> None:
    """The meta device stands in for an accelerator: it refuses tensors of other devices, single numbers excepted."""
    seen = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        seen.extend([x, t])
        assert t.shape == (3,)
        return 0.5 * x

    end = sampler(network, torch.empty(3, 4, 2, 2, device="meta"))
    assert {tensor.device.type for tensor in [end, *seen]} == {"meta"}


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())
def test_the_start_is_left_as_it_was(sampler: toys.Network) -> None:
    x = golden_data.latents(3, 4, 2, 2)
    before = x.clone()
    sampler(lambda x, t: x, x)
    assert torch.equal(x, before)


def test_counted_counts() -> None:
    network = Counted(lambda x, t, y: x)
    for _ in range(3):
        network(torch.ones(1), torch.ones(1), None)
    assert network.calls == 3
