"""The management library is a stand-in with its names and units: MHz, mW, mJ. No GPU was asked."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from dimbench.bench import nvml


class NVMLError(Exception):
    pass


def library(**changes: Any) -> SimpleNamespace:
    def refuse(*_: Any) -> None:
        raise NVMLError

    working = {
        "NVMLError": NVMLError,
        "NVML_CLOCK_SM": 1,
        "NVML_CLOCK_MEM": 2,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetClockInfo": lambda handle, kind: {1: 1500, 2: 2600}[kind],
        "nvmlDeviceGetMaxClockInfo": lambda handle, kind: 1980,
        "nvmlDeviceGetTemperature": lambda handle, sensor: 61,
        "nvmlDeviceGetPowerUsage": lambda handle: 350_000,
        "nvmlDeviceGetCurrentClocksEventReasons": lambda handle: 0x04 | 0x20 | 0x01,
        "nvmlDeviceGetComputeRunningProcesses": lambda handle: [SimpleNamespace(pid=7, usedGpuMemory=1000)],
        "nvmlDeviceGetTotalEnergyConsumption": lambda handle: 2_500_000,
        "nvmlSystemGetDriverVersion": lambda: "580.1",
    }
    return SimpleNamespace(**{**working, **{name: value or refuse for name, value in changes.items()}})


def test_a_state_in_si_units() -> None:
    gpu = nvml.Gpu(library(), "abc")
    state = gpu.state()
    assert gpu.handle == "GPU-abc"
    assert (state.sm_hertz, state.memory_hertz, state.watts, state.celsius) == (1.5e9, 2.6e9, 350.0, 61)
    assert state.throttled == ("power limit", "temperature, by software")  # idle, bit 1, is no throttling
    assert gpu.joules() == 2500.0


def test_what_a_card_does_not_say_is_none() -> None:
    gpu = nvml.Gpu(library(nvmlDeviceGetTotalEnergyConsumption=None, nvmlDeviceGetClockInfo=None), "abc")
    assert gpu.joules() is None
    assert gpu.state().sm_hertz is None


def test_without_package_or_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml.find("abc") is None
    monkeypatch.setitem(sys.modules, "pynvml", library(nvmlInit=None))
    assert nvml.find("abc") is None
    monkeypatch.setitem(sys.modules, "pynvml", library())
    assert nvml.find("abc") is not None


def test_own_memory_is_that_of_new_processes() -> None:
    def state(processes: dict[int, int | None]) -> nvml.GpuState:
        return nvml.GpuState(None, None, None, None, None, (), processes)

    assert nvml.own_bytes(state({7: 10}), state({7: 10, 8: 500})) == 500
    assert nvml.own_bytes(state({}), state({8: None})) is None
    assert nvml.own_bytes(state({7: 10}), state({7: 10})) is None
