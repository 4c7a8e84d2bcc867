"""The processor, as /proc/cpuinfo describes it."""

from __future__ import annotations

import platform
from pathlib import Path

ROOT = Path("/")


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
