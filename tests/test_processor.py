"""How threads wait for each other: what torch's OpenMP is told before it is loaded; and who keeps freed memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dimbench import processor
from tests.console import dimbench


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "5"}, "5"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_threads_sleep_early_unless_the_user_chose(
    given: dict[str, str], told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that what follows is undone
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    processor.share_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == told


@pytest.mark.parametrize(
    ("words", "shares"),
    [
        ("sample nosuch", True), ("fid nosuch", True), ("stats nosuch", True), ("train nosuch", True),
        ("bench nosuch", False), ("choose nosuch", False), ("frontier nosuch", False),
    ],
)  # fmt: skip
def test_what_is_timed_runs_as_torch_runs_it(words: str, shares: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    told, kept = [], []
    monkeypatch.setattr(processor, "share_cores", lambda: told.append(words))
    monkeypatch.setattr(processor, "keep_memory", lambda: kept.append(words))
    assert dimbench(*words.split()).code == 2
    assert bool(told) == shares
    assert bool(kept) == (words != "choose nosuch")  # which neither draws nor times


@pytest.mark.parametrize(("said", "found"), [("AuthenticAMD", True), ("GenuineIntel", False)])
def test_who_made_the_processor(said: str, found: bool, tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {said}\nmodel name\t: one\n\n")
    assert processor.is_of_amd(tmp_path) == found
    assert not processor.is_of_amd(tmp_path / "nosuch")


# Blocks larger than what GNU's allocator ever keeps by itself, again and again: how many pages come new for each.
FAULTS = """
import resource, sys
from dimbench import processor
from dimbench.bench import memory
if sys.argv[1] == "keep":
    processor.keep_memory()
import torch
size, probe = 2**24, memory.process_probe()
held = probe.used()
for _ in range(20):
    torch.ones(size)  # until there is room between what else is kept
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.ones(size)
faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 4 / (4 * size / resource.getpagesize())
probe.reset()
print(processor.keeps_memory(), round(faults, 1), probe.peak() - held < 2 * size, probe.used() - held < 2 * size)
"""


@pytest.mark.parametrize(
    ("mode", "chosen", "expected"),
    [
        ("keep", {}, "True 0.0 True True"),
        ("keep", {"MALLOC_MMAP_THRESHOLD_": "131072"}, "False 1.0 True True"),
        ("not", {}, "False 1.0 True True"),
    ],
)
def test_memory_stays_unless_the_user_chose(mode: str, chosen: dict[str, str], expected: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC", "GLIBC"))}
    ran = subprocess.run(
        [sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, env={**environment, **chosen}
    )
    assert ran.stdout.split() == expected.split(), ran.stderr
