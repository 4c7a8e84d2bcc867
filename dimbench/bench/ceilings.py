"""What a device can do at most, measured: products of square matrices, copies, the start of one operator."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from dimbench import paths, stats
from dimbench.bench import hardware
from dimbench.bench.devices import Device
from dimbench.bench.timing import Rules, Timed, measure
from dimbench.files import json_object, replacing
from dimbench.progress import say
from dimbench.sampling.precision import DTYPES, set_precision

# Sides that fill the device; the fastest counts. More only takes longer.
SIDES = {"cpu": (512, 1024, 1536), "cuda": (2048, 4096, 8192)}
COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}  # far beyond the caches
LAUNCHES = 200
INT8 = "int8"  # products of it, summed in int32


@dataclass(frozen=True)
class Ceilings:
    """Rates of `device_name`, of a CPU with `threads` threads: `macs_per_second` of a matrix product by dtype, bytes
    read plus written by a copy, and seconds that starting one operator takes the host."""

    device_name: str
    threads: int | None
    macs_per_second: Mapping[str, float]
    bytes_per_second: float
    launch_seconds: float
    torch: str
    created: str
    samples: Mapping[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rates = (*self.macs_per_second.values(), self.bytes_per_second, self.launch_seconds)
        if not all(isinstance(rate, float) and 0 < rate < math.inf for rate in rates):
            raise ValueError(f"the rates {rates} are not all positive numbers")

    def rate(self, by_numbers: Mapping[str, int]) -> float | None:
        """The most multiply-adds per second of a mixture of so many of each kind of numbers, each at its own ceiling;
        None where one was not measured."""
        parts = {name: macs for name, macs in by_numbers.items() if macs}
        if not parts or not parts.keys() <= self.macs_per_second.keys():
            return None
        return sum(parts.values()) / sum(macs / self.macs_per_second[name] for name, macs in parts.items())


def measured(device: Device, budget: float, created: str, on_step: Callable[[int, str], None]) -> Ceilings:
    """Measure them now, `budget` seconds for each series; `on_step` hears the number of each and what it is."""
    kind = "cuda" if device.on_gpu else "cpu"
    rules = Rules(budget=budget, warm_up=budget / 4, least_seconds=budget / 4)
    products = [(dtype, side) for dtype in dtypes(device) for side in SIDES[kind]]
    samples: dict[str, list[float]] = {}
    rates: dict[str, float] = {}
    for step, (dtype, side) in enumerate(products):
        on_step(step, f"{dtype} product of side {side}")
        seconds = samples[f"matmul_{dtype}_{side}"] = _matmul(device, dtype, side, rules).seconds
        rates[dtype] = max(rates.get(dtype, 0.0), side**3 / stats.median(seconds))
    on_step(len(products), "copy")
    copied = samples["copy"] = _copy(device, COPY_BYTES[kind], rules).seconds
    on_step(len(products) + 1, "launches")
    launched = _launch(device, rules)
    return Ceilings(
        device_name=device.name,
        threads=device.threads,
        macs_per_second=rates,
        bytes_per_second=2 * COPY_BYTES[kind] / stats.median(copied),
        launch_seconds=launched.wall / len(launched.seconds) / LAUNCHES,
        torch=torch.__version__,
        created=created,
        samples={**samples, "launch": launched.seconds},
    )


def dtypes(device: Device) -> tuple[str, ...]:
    """Those that the device can be asked for, int8 among them. A CPU has no TF32, and few have float16."""
    if device.on_gpu:
        return (*DTYPES, INT8)
    return ("fp32", "bf16", "fp16", INT8) if hardware.has_float16() else ("fp32", "bf16", INT8)


def steps(device: Device) -> int:
    """How many series `measured` takes."""
    return len(dtypes(device)) * len(SIDES["cuda" if device.on_gpu else "cpu"]) + 2


def _matmul(device: Device, dtype: str, side: int, rules: Rules) -> Timed:
    if dtype == INT8:
        x = torch.ones(side, side, dtype=torch.int8, device=device.place)
        return measure(lambda: torch._int_mm(x, x), device.clock, rules)
    set_precision(dtype)
    a, b = (torch.randn(side, side, device=device.place).to(DTYPES[dtype]) for _ in "ab")
    out = torch.empty_like(a)
    return measure(lambda: torch.mm(a, b, out=out), device.clock, rules)


def _copy(device: Device, size: int, rules: Rules) -> Timed:
    source = torch.zeros(size, dtype=torch.uint8, device=device.place)
    target = torch.empty_like(source)
    return measure(lambda: target.copy_(source), device.clock, rules)


def _launch(device: Device, rules: Rules) -> Timed:
    one = torch.zeros(1, device=device.place)

    def call() -> None:
        for _ in range(LAUNCHES):
            one.add_(1)

    return measure(call, device.clock, rules)


def store(ceilings: Ceilings) -> None:
    """Keep them, without raw samples, for `load` in later runs."""
    kept = {name: part for name, part in asdict(ceilings).items() if name != "samples"}
    with replacing(_file(ceilings.device_name, ceilings.threads)) as temporary:
        temporary.write_text(json.dumps(kept, indent=2), encoding="utf-8")


def load(device_name: str, threads: int | None) -> Ceilings | None:
    """What was measured of this device, or None; a file that is damaged or of another version is named."""
    file = _file(device_name, threads)
    try:
        return Ceilings(**json_object(file))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError):
        say(f"dimbench: {file} holds no rates of a device and was left out; `dimbench device` measures anew")
        return None


def _file(device_name: str, threads: int | None) -> Path:
    slug = re.sub(r"[^a-z0-9]+", "-", device_name.lower()).strip("-")
    return paths.cache_folder() / "devices" / f"{slug}{f'-{threads}-threads' if threads else ''}.json"
