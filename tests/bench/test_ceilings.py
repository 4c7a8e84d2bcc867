from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dimbench import paths
from dimbench.bench import ceilings, roofline
from dimbench.bench import devices as device
from dimbench.bench.devices import Device
from dimbench.errors import UsageError
from dimbench.sampling import precision

FOUND = ceilings.Ceilings("Some CPU (R) @ 3 GHz", 2, {"fp32": 5e10}, 1e10, 5e-6, "2.0", "2026-01-01")


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> Device:
    """This CPU, with work small enough for a test."""
    monkeypatch.setattr(ceilings, "SIDES", {"cpu": (8, 16)})
    monkeypatch.setattr(ceilings, "COPY_BYTES", {"cpu": 2**16})
    return device.find("cpu", "Some CPU")


def test_every_figure_is_measured_and_reported(cpu: Device) -> None:
    steps: list[int] = []
    found = ceilings.measured(cpu, 0.02, "now", lambda step, _: steps.append(step))
    assert steps == list(range(ceilings.steps(cpu)))
    assert set(found.macs_per_second) == set(ceilings.dtypes(cpu))
    for dtype, rate in found.macs_per_second.items():
        medians = [sorted(found.samples[f"matmul_{dtype}_{side}"]) for side in (8, 16)]
        best = max(side**3 / ceilings.stats.median(s) for side, s in zip((8, 16), medians, strict=True))
        assert rate == best
    assert found.bytes_per_second == 2 * 2**16 / ceilings.stats.median(found.samples["copy"])
    assert 0 < found.launch_seconds < min(found.samples["launch"])


def test_they_are_kept_by_device_and_threads_without_raw_samples(capsys: pytest.CaptureFixture[str]) -> None:
    ceilings.store(replace(FOUND, samples={"copy": [1.0]}))
    assert ceilings.load(FOUND.device_name, 2) == FOUND
    assert ceilings.load(FOUND.device_name, 1) is None
    assert ceilings.load("another", 2) is None
    assert capsys.readouterr().err == "", "what was not measured is no fault"


def test_a_broken_file_means_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    ceilings.store(FOUND)
    (file,) = (paths.cache_folder() / "devices").iterdir()
    assert isinstance(file, Path)
    file.write_text(file.read_text()[:40])
    assert ceilings.load(FOUND.device_name, 2) is None
    assert "holds no rates of a device and was left out" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["gpu", "cpu:1", "cuda:x", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(place: str) -> None:
    with pytest.raises(UsageError, match="give"):
        precision.check_device(place)


def test_the_roof_is_the_lower_of_the_two() -> None:
    compute = roofline.position(macs=100.0, seconds=2.0, traffic=1.0, macs_per_second=200.0, bytes_per_second=10.0)
    assert (compute.utilisation, compute.roof_share, compute.ridge, compute.bound) == (0.25, 0.25, 20.0, "compute")
    memory = roofline.position(macs=100.0, seconds=2.0, traffic=10.0, macs_per_second=200.0, bytes_per_second=10.0)
    assert (memory.utilisation, memory.roof_share, memory.bound) == (0.25, 0.5, "memory")


def test_a_mixture_of_numbers_has_the_time_of_its_parts() -> None:
    found = replace(FOUND, macs_per_second={"fp32": 1e9, "int8": 4e9})
    assert found.rate({"fp32": 100}) == 1e9
    assert found.rate({"fp32": 100, "int8": 400}) == 500 / (100 / 1e9 + 400 / 4e9)
    assert found.rate({"fp32": 100, "fp8": 400}) is None
