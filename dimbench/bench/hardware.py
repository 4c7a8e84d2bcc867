"""The state of the machine that a time depends on. Standard library only; the files are read under a given root."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dimbench import processor

ROOT = processor.ROOT
_UNLIMITED = 2**60  # bytes; version 1 of cgroups writes "no limit" as a number above it


@dataclass(frozen=True)
class Host:
    """`load` is the mean number of running processes over a minute, `quota` the CPUs that the container may use, None
    for all; `usable` those this process may run on; `available` bytes of memory can still be had. None: unknown."""

    cpus: int
    usable: int
    load: float | None
    quota: float | None
    governor: str | None
    turbo: bool | None
    threads_per_core: int | None
    available: int | None


def host(root: Path = ROOT) -> Host:
    """The state now."""
    cpu = root / "sys/devices/system/cpu"
    no_turbo = _text(cpu / "intel_pstate/no_turbo")
    boost = _text(cpu / "cpufreq/boost")
    siblings = _text(cpu / "cpu0/topology/thread_siblings_list")
    load = _text(root / "proc/loadavg")
    return Host(
        cpus=os.cpu_count() or 1,
        usable=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        load=float(load.split()[0]) if load else None,
        quota=_quota(root),
        governor=_text(cpu / "cpu0/cpufreq/scaling_governor"),
        turbo=no_turbo == "0" if no_turbo else boost == "1" if boost else None,
        threads_per_core=_members(siblings) if siblings else None,
        available=available_memory(root),
    )


def available_memory(root: Path = ROOT) -> int | None:
    """Bytes that the system, and the container if there is one, can still give."""
    meminfo = _text(root / "proc/meminfo") or ""
    found = [1024 * int(line.split()[1]) for line in meminfo.splitlines() if line.startswith("MemAvailable:")]
    for limit_name, used_name in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit, used = _cgroup(root, limit_name), _cgroup(root, used_name)
        if limit and used and limit.isdigit() and int(limit) < _UNLIMITED:
            found.append(int(limit) - int(used))
    return min(found) if found else None


def has_float16(root: Path = ROOT) -> bool:
    """Whether the CPU computes in float16 itself: avx512_fp16 on x86, asimdhp on ARM."""
    return bool({"avx512_fp16", "asimdhp"} & set(processor.features(root).split()))


def _quota(root: Path) -> float | None:
    """CPUs of the container by its control group, version 2 or 1."""
    version_1 = [_cgroup(root, f"cpu/cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
    allowed, period = (_cgroup(root, "cpu.max") or "").split() or version_1
    return int(allowed) / int(period) if allowed.isdigit() and period.isdigit() else None


def _cgroup(root: Path, name: str) -> str | None:
    """A file of this process's control group, else of the root group, where a container finds its own."""
    controller, _, file = name.rpartition("/")
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == controller:
            own = _text(root / "sys/fs/cgroup" / controller / path.lstrip("/") / file)
            if own is not None:
                return own
    return _text(root / "sys/fs/cgroup" / name)


def _members(listed: str) -> int:
    """ "0-1" or "0,4" -> 2."""
    ends = (part.partition("-") for part in listed.split(","))
    return sum(int(last or first) - int(first) + 1 for first, _, last in ends)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
