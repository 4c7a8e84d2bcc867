from __future__ import annotations

from pathlib import Path

import pytest

from dimbench.bench import hardware


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")


MEMORY = {"proc/meminfo": "MemTotal: 100 kB\nMemAvailable:   64 kB"}


def test_what_the_system_says_is_read(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    files = {
        "proc/loadavg": "1.25 0.80 0.50 2/100 999",
        f"{cpu}/cpu0/cpufreq/scaling_governor": "powersave",
        f"{cpu}/intel_pstate/no_turbo": "0",
        f"{cpu}/cpu0/topology/thread_siblings_list": "0,4",
    }
    write(tmp_path, {**MEMORY, **files})
    state = hardware.host(tmp_path)
    assert (state.load, state.governor, state.turbo, state.threads_per_core) == (1.25, "powersave", True, 2)
    assert (state.available, state.quota) == (64 * 1024, None)


def test_what_no_file_says_is_unknown(tmp_path: Path) -> None:
    state = hardware.host(tmp_path)
    assert (state.load, state.governor, state.turbo, state.threads_per_core, state.available) == (None,) * 5


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
        ({"sys/fs/cgroup/cpu.max": "max 100000"}, None),
        ({"proc/self/cgroup": "0::/job", "sys/fs/cgroup/job/cpu.max": "150000 100000"}, 1.5),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 2.0),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_the_containers_share_of_cpus(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    write(tmp_path, files)
    assert hardware.host(tmp_path).quota == quota


@pytest.mark.parametrize(
    "files",
    [
        {"sys/fs/cgroup/memory.max": "10000", "sys/fs/cgroup/memory.current": "4000"},
        {
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "10000",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "4000",
        },
    ],
)
def test_a_containers_limit_bounds_the_memory(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, {**MEMORY, **files})
    assert hardware.available_memory(tmp_path) == 6000


def test_no_limit_is_none(tmp_path: Path) -> None:
    write(tmp_path, {**MEMORY, "sys/fs/cgroup/memory.max": "max", "sys/fs/cgroup/memory.current": "4000"})
    assert hardware.available_memory(tmp_path) == 64 * 1024


def test_float16_is_a_flag_of_the_cpu(tmp_path: Path) -> None:
    write(tmp_path, {"proc/cpuinfo": "model name : x\nflags : fpu avx2"})
    assert not hardware.has_float16(tmp_path)
    write(tmp_path, {"proc/cpuinfo": "Features : fp asimd asimdhp"})
    assert hardware.has_float16(tmp_path)
