"""The processor, as /proc/cpuinfo describes it, how its threads wait for each other, and what becomes of memory."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable
from pathlib import Path

ROOT = Path("/")
_SPIN_COUNT = "GOMP_SPINCOUNT"
_MALLOC = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES", "LD_PRELOAD")
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt, in GNU's malloc.h

_keeps = False


def share_cores() -> None:
    """Unless the user chose another way, torch's threads that have done their part look some microseconds for more work
    before they sleep, not the millisecond that GNU's OpenMP gives them: where another program needs a core, they spend
    most of their time in its way and in each other's. Takes effect only before torch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(_SPIN_COUNT, "1000")


def keep_memory() -> None:
    """Unless the user chose another way, what a network lets go stays with the process, where GNU's C library has its
    memory. By itself that gives large pieces back, by thresholds that follow what was freed before, and the next pass
    waits while they are mapped and zeroed again: in one process for 8 % of its time and in another for none of it."""
    global _keeps
    if not any(name in os.environ for name in _MALLOC) and (mallopt := _allocator("mallopt")):
        _keeps = bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_MMAP_MAX, 0))


def keeps_memory() -> bool:
    """Whether `keep_memory` took effect in this process."""
    return _keeps


def give_back_memory() -> None:
    """Let the system have what is free, so that what the process holds is what it uses."""
    if trim := _allocator("malloc_trim"):
        trim(0)


def _allocator(function: str) -> Callable[..., int] | None:
    """A function of GNU's C library, None where there is another."""
    return getattr(ctypes.CDLL(None), function, None)


def name() -> str:
    """What it is called, else what kind it is."""
    return _said("model name") or platform.processor() or platform.machine()


def is_of_amd(root: Path = ROOT) -> bool:
    """Whether AMD made it, which the MKL behind torch takes for a generic one."""
    return _said("vendor_id", root) == "AuthenticAMD"


def features(root: Path = ROOT) -> str:
    """The instructions that it has, else what it is called."""
    return _said("flags", root) or _said("Features", root) or platform.processor() + platform.machine()


def _said(key: str, root: Path = ROOT) -> str:
    """Of the first core; "" where nothing is said."""
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for found, _, value in pairs if found.strip() == key), "")
