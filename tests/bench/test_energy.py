from __future__ import annotations

from pathlib import Path

import pytest

from dimbench.bench import energy
from tests.bench.clocks import TICK, FakeCpu


def test_energy_is_the_counters_difference_over_steady_calls() -> None:
    device = FakeCpu()
    assert energy.joules_per_call(device.call, device.clock, lambda: 100.0 * device.time) == pytest.approx(100 * TICK)
    assert device.time >= energy.STEADY_SECONDS


def test_without_a_counter_nothing_runs() -> None:
    device = FakeCpu()
    assert energy.joules_per_call(device.call, device.clock, lambda: None) is None
    assert device.calls == 0


def test_a_counter_that_wrapped_gives_nothing() -> None:
    device, counted = FakeCpu(), iter([1000.0, 3.0])
    assert energy.joules_per_call(device.call, device.clock, lambda: next(counted)) is None


def test_a_packages_counter_is_in_microjoules(tmp_path: Path) -> None:
    (tmp_path / "energy_uj").write_text("2500000\n")
    assert energy.cpu_package(tmp_path) == 2.5
    assert energy.cpu_package(tmp_path / "nowhere") is None
