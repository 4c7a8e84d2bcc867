"""A device with what is needed to measure on it: its name, clock, memory probe and counter of energy."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dimbench.bench import energy, memory, nvml, timing


@dataclass(frozen=True)
class Device:
    """`place` is torch's word for it, `name` its maker's; `gpu` is None on a CPU and where nothing can be asked."""

    place: str
    name: str
    clock: timing.Clock
    probe: memory.Probe
    joules: energy.Counter
    gpu: nvml.Gpu | None

    @property
    def on_gpu(self) -> bool:
        return self.place.startswith("cuda")

    @property
    def threads(self) -> int | None:
        """Of torch on this CPU; None on a GPU, whose rates do not depend on them."""
        return None if self.on_gpu else torch.get_num_threads()


def find(place: str, processor: str) -> Device:
    """The device that `precision.check_device` let pass; `processor` is what a CPU is called."""
    if place == "cpu":
        return Device(place, processor, timing.HOST, memory.process_probe(), energy.cpu_package, None)
    gpu = nvml.find(str(torch.cuda.get_device_properties(place).uuid))
    counter = gpu.joules if gpu else lambda: None
    name = torch.cuda.get_device_name(place)
    return Device(place, name, timing.cuda_clock(place), memory.cuda_probe(place), counter, gpu)
