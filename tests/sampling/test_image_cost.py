"""The cost of an image: the short cut of following one call of each kind against the whole trace."""

from __future__ import annotations

import pytest

from dimbench import backbone
from dimbench.counting import costs
from dimbench.counting.bill import trace
from dimbench.counting.rules import RULES
from dimbench.diffusion.process import find_process
from dimbench.sampling.image_cost import image_cost, settings_of
from dimbench.sampling.run import Run
from dimbench.sampling.sample_noise import SampleNoise


@pytest.mark.parametrize(
    ("name", "resolution", "steps", "cfg"),
    [("dit-s8", 256, 4, 1.5), ("sit-digits", 8, 3, 1.0), ("dim-digits", 8, 3, 1.5), ("udit-t48", 128, 2, 1.0)],
)
def test_calls_alike_are_booked_as_if_each_were_followed(name: str, resolution: int, steps: int, cfg: float) -> None:
    found = backbone.find(name, resolution)
    how = settings_of(found, None, steps, cfg)
    short = image_cost(found, how, decoded=False)
    _, network = costs.skeleton(found)
    whole = Run(found, network, find_process(found.diffusion), how)
    bill = trace(whole, lambda: whole(SampleNoise(0, range(1), "meta")), 1)
    assert short.bill.lines == bill.lines
    assert short.macs("macs") == RULES["macs"].macs(bill) == short.passes * costs.count(found).macs("macs")


def test_on_real_tensors_every_call_is_followed() -> None:
    found = backbone.find("dit-digits")
    how = settings_of(found, None, 3, 1.0)
    network = backbone.created(found)
    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    whole = Run(found, network, find_process(found.diffusion), how)
    bill = trace(whole, lambda: whole(SampleNoise(0, range(2))), 2, alike=network)
    assert len(calls) == 3
    assert RULES["macs"].macs(bill) == 2 * 3 * costs.count(found).macs("macs")
