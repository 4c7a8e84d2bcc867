"""The cost of an image: the short cut of following one call of each kind against the whole trace."""

from __future__ import annotations

import pytest

from dimbench import backbone
from dimbench.counting import costs
from dimbench.counting.bill import trace
from dimbench.counting.rules import RULES
from dimbench.diffusion.process import find_process
from dimbench.errors import UsageError
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
    bill = trace(whole, lambda: whole(SampleNoise(0, range(2))), 2, alike=[network])
    assert len(calls) == 3
    assert RULES["macs"].macs(bill) == 2 * 3 * costs.count(found).macs("macs")


@pytest.mark.parametrize(
    ("name", "decoder"),
    [("lightningdit-xl1", 126_093_623_296), ("lightningdit-xl2", 311_093_641_216), ("ldm-4", 335_290_601_472),
     ("dit-dh-s", 110_824_160_256), ("dit-dh-s-512", 492_789_464_064)],
)  # fmt: skip
def test_each_model_is_decoded_by_the_autoencoder_of_its_latents(name: str, decoder: int) -> None:
    found = backbone.find(name)
    cost = image_cost(found, settings_of(found, None, 2, 1.0), decoded=True)
    assert cost.decode_macs("macs") == decoder
    assert cost.macs("macs") == decoder + cost.passes * costs.count(found).macs("macs")


def test_latents_that_no_known_autoencoder_has_are_refused() -> None:
    found = backbone.find("dit-s8", settings={"in_channels": 5})
    with pytest.raises(UsageError, match="latents of 5 channels at stride 8, and sd-vae-ft-ema decodes 4 at stride 8"):
        image_cost(found, settings_of(found, None, 2, 1.0), decoded=True)
