from __future__ import annotations

import pytest

from dimbench.backbone import find
from dimbench.counting.costs import count
from dimbench.sampling.image_cost import image_cost
from dimbench.sampling.run import Settings

# G, with modulation as executed and counted once per image
PRINTED = {
    ("ddt-xl2", 256): (131.4811, 118.6214),
    ("ddt-xl2", 512): (576.1281, 524.5383),
    ("dit-dh-xl", 256): (161.5787, 146.6050),
    ("dit-dh-s", 256): (48.4709, 33.4972),
}
DIGITS = 6e-5  # four decimals are recorded


@pytest.mark.parametrize(("name", "resolution"), PRINTED)
@pytest.mark.parametrize("batch", [1, 3])
def test_conditions_of_tokens_are_counted_as_if_an_image_had_one(name: str, resolution: int, batch: int) -> None:
    cost = count(name, resolution, batch)
    executed, once = PRINTED[name, resolution]
    assert cost.macs("macs") / 1e9 == pytest.approx(executed, abs=DIGITS)
    assert cost.macs("modulation-once") / 1e9 == pytest.approx(once, abs=DIGITS)


@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_a_guided_call_has_two_conditions(cfg: float) -> None:
    subject = find("ddt-b2")
    run = image_cost(subject, Settings("euler", 2, cfg), decoded=False)
    assert run.macs("modulation-once") == 2 * cfg * count(subject).macs("modulation-once")


@pytest.mark.parametrize("name", ["dit-s2", "jit-b16", "lightningdit-b1"])
def test_a_condition_of_the_image_is_counted_as_it_is(name: str) -> None:
    cost = count(name, 256)
    assert cost.macs("modulation-once") == cost.macs("macs")
