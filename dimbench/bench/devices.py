"""A device with what is needed to measure on it: its name, clock, memory probe and counter of energy."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dimbench.bench import energy, memory, nvml, timing
from dimbench.errors import UsageError

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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


def check(place: str) -> None:
    """Raise UsageError unless torch can use this device here; on a GPU nothing is started for it."""
    kind, _, index = place.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise UsageError(f"the device {place!r} is unknown; give cpu, cuda or cuda:N")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        seen = torch.cuda.device_count()
        raise UsageError(
            f"{place} was asked for, but torch sees {seen or 'no'} NVIDIA GPU{'s' if seen > 1 else ''} here; give "
            f"--device {'cuda:0 or ' if seen else ''}cpu"
        )


def find(place: str, processor: str) -> Device:
    """The device that `check` let pass; `processor` is what a CPU is called."""
    if place == "cpu":
        return Device(place, processor, timing.HOST, memory.process_probe(), energy.cpu_package, None)
    gpu = nvml.find(str(torch.cuda.get_device_properties(place).uuid))
    counter = gpu.joules if gpu else lambda: None
    name = torch.cuda.get_device_name(place)
    return Device(place, name, timing.cuda_clock(place), memory.cuda_probe(place), counter, gpu)


def set_precision(dtype: str) -> None:
    """Let float32 products run in TF32 or not. cuDNN's own default would be TF32 for convolutions."""
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = dtype == "tf32"
