"""How much memory a process or a GPU held at most, and what it would take. Probes are arguments."""

from __future__ import annotations

import resource
import sys
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimbench import processor
from dimbench.errors import is_short_of_memory
from dimbench.meta import Uncompiled

_PROC = Path("/proc/self")


@dataclass(frozen=True)
class Probe:
    """`reset` starts a new peak, `used` are the bytes held now, `peak` the most since the reset; `reserved` is the most
    that the allocator kept, None where there is none between the network and the system."""

    reset: Callable[[], None]
    used: Callable[[], int]
    peak: Callable[[], int]
    reserved: Callable[[], int | None]


@dataclass(frozen=True)
class Peaks:
    """Bytes. `activations` are the peak without what the weights, or on a CPU the process, held before the calls."""

    peak: int
    reserved: int | None
    activations: int


def peaks(probe: Probe, before: int) -> Peaks:
    """What `probe` saw since its reset, when `before` bytes were held."""
    peak = probe.peak()
    return Peaks(peak, probe.reserved(), max(0, peak - before))


def cuda_probe(device: str) -> Probe:
    """torch's caching allocator on one GPU."""
    return Probe(
        reset=lambda: torch.cuda.reset_peak_memory_stats(device),
        used=lambda: torch.cuda.memory_allocated(device),
        peak=lambda: torch.cuda.max_memory_allocated(device),
        reserved=lambda: torch.cuda.max_memory_reserved(device),
    )


def process_probe() -> Probe:
    """The resident set of this process, without what is free in it. Where the system cannot start a new peak, it is the
    one since the start."""
    return Probe(_reset_peak, _held, lambda: _status("VmHWM"), lambda: None)


def _held() -> int:
    processor.give_back_memory()
    return _status("VmRSS")


def _reset_peak() -> None:
    processor.give_back_memory()
    with suppress(OSError):
        (_PROC / "clear_refs").write_text("5")


def _status(name: str) -> int:
    try:
        lines = (_PROC / "status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most


def limit_process(available: int) -> None:
    """Let allocations beyond `available` more bytes fail in this process, before the system has to end another."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (_status("VmData") + available, resource.RLIM_INFINITY))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, or Python, could not get memory. On a CPU torch has no error of its own for it."""
    return isinstance(error, torch.OutOfMemoryError) or is_short_of_memory(error)


class LivePeak(Uncompiled):
    """Around a call on the meta device: `peak` are the bytes of the tensors alive at the same time at most, those that
    were there before not counted. What a kernel needs beside its outputs is not in it."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._holders: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for tensor in output if isinstance(output, (tuple, list)) else (output,):
            if isinstance(tensor, Tensor) and not any(tensor is arg for arg in args):
                self._hold(tensor, func.is_view)
        return output

    def _hold(self, tensor: Tensor, is_view: bool) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if is_view and not self._holders[key]:
            return  # of something that was there before
        if not self._holders[key]:
            self.live += size
            self.peak = max(self.peak, self.live)
        self._holders[key] += 1
        weakref.finalize(tensor, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._holders[key] -= 1
        if not self._holders[key]:
            self.live -= size
