"""What NVIDIA's management library says of a GPU: clocks, temperature, throttling, processes, energy.

It needs the package nvidia-ml-py (the extra `gpu`); without it these figures are "not measured". Nothing is changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

# What lowers the clocks and is no setting of the user's (nvml.h, nvmlClocksEventReason*).
THROTTLES = {
    0x04: "power limit",
    0x08: "hardware slowdown",
    0x20: "temperature, by software",
    0x40: "temperature, by hardware",
    0x80: "power brake",
}


@dataclass(frozen=True)
class GpuState:
    """SI units and degrees Celsius; `throttled` says why the clocks are lowered now; `processes` maps the ids of all
    compute processes to the bytes each holds. None: the library does not say."""

    sm_hertz: float | None
    sm_hertz_most: float | None
    memory_hertz: float | None
    celsius: float | None
    watts: float | None
    throttled: tuple[str, ...]
    processes: dict[int, int | None]


class Gpu:
    """One GPU by its UUID as CUDA gives it; `library` is pynvml."""

    def __init__(self, library: Any, uuid: str) -> None:
        self.library = library
        library.nvmlInit()
        self.handle = library.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")

    def state(self) -> GpuState:
        lib = self.library
        sm, memory = lib.NVML_CLOCK_SM, lib.NVML_CLOCK_MEM
        reasons = self._ask("nvmlDeviceGetCurrentClocksEventReasons") or 0
        return GpuState(
            sm_hertz=_times(self._ask("nvmlDeviceGetClockInfo", sm), 1e6),
            sm_hertz_most=_times(self._ask("nvmlDeviceGetMaxClockInfo", sm), 1e6),
            memory_hertz=_times(self._ask("nvmlDeviceGetClockInfo", memory), 1e6),
            celsius=self._ask("nvmlDeviceGetTemperature", lib.NVML_TEMPERATURE_GPU),
            watts=_times(self._ask("nvmlDeviceGetPowerUsage"), 1e-3),
            throttled=tuple(word for bit, word in THROTTLES.items() if reasons & bit),
            processes={p.pid: p.usedGpuMemory for p in self._ask("nvmlDeviceGetComputeRunningProcesses") or ()},
        )

    def joules(self) -> float | None:
        """Energy since the driver was loaded, from Volta on."""
        return _times(self._ask("nvmlDeviceGetTotalEnergyConsumption"), 1e-3)

    @property
    def driver(self) -> str:
        return str(self.library.nvmlSystemGetDriverVersion())

    def _ask(self, name: str, *arguments: Any) -> Any:
        try:
            return getattr(self.library, name)(self.handle, *arguments)
        except (self.library.NVMLError, AttributeError):  # this card or driver does not say
            return None


def find(uuid: str) -> Gpu | None:
    """The GPU, or None where the package or the driver's library is missing or does not know it."""
    try:
        library = import_module("pynvml")
    except ImportError:
        return None
    try:
        return Gpu(library, uuid)
    except library.NVMLError:
        return None


def own_bytes(before: GpuState, now: GpuState) -> int | None:
    """What the processes hold that have come since `before`; in a container ids are not those of the system."""
    new = [held for pid, held in now.processes.items() if pid not in before.processes]
    return sum(held or 0 for held in new) if new and None not in new else None


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
