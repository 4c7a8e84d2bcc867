"""The processor, as /proc/cpuinfo describes it, and how its threads wait for each other."""

from __future__ import annotations

import os
import platform
from pathlib import Path

ROOT = Path("/")
_SPIN_COUNT = "GOMP_SPINCOUNT"


def share_cores() -> None:
    """Unless the user chose another way, torch's threads that have done their part look some microseconds for more work
    before they sleep, not the millisecond that GNU's OpenMP gives them: where another program needs a core, they spend
    most of their time in its way and in each other's. Takes effect only before torch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(_SPIN_COUNT, "1000")


def name() -> str:
    """What it is called, else what kind it is."""
    return _said("model name") or platform.processor() or platform.machine()


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
