"""The script for a machine with a GPU, with a Python that only notes what it was asked for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from tests.console import refused

ROOT = Path(__file__).parent.parent
PYTHON = """#!/usr/bin/env bash
echo "$*" >>"$ASKED"
case "$*" in *"$FAILS"*) exit 1 ;; esac
"""
ALWAYS = ("device", "report")  # the machine's rates, and what is shown of all that is there


class Checkout:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out, self.home = folder / "out", folder / "results/gpu"
        self.home.mkdir(parents=True)
        shutil.copy(ROOT / "results/gpu/run", self.home)
        (folder / "bin").mkdir()
        (folder / "bin/python").write_text(PYTHON)
        (folder / "bin/python").chmod(0o755)

    def run(self, limit: int = 540, fails: str = "nothing fails", device: str = "cpu") -> list[str]:
        """The commands of dimbench that it runs; `asked` are they with all their words."""
        asked = self.folder / "asked"
        asked.write_text("")
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "OUT": str(self.out), "ASKED": str(asked), "FAILS": fails}
        done = subprocess.run(
            [self.home / "run", device, str(limit)], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        self.said = done.stdout
        words = [line.split() for line in asked.read_text().splitlines()]
        self.asked = [each[2:] for each in words if each[:2] == ["-m", "dimbench"]]
        return [each[0] for each in self.asked]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path)
    made.out.mkdir()
    (made.out / "kernels.jsonl").write_text("")
    return made


def test_what_is_done_is_not_done_again(checkout: Checkout) -> None:
    first = checkout.run()
    assert {"doctor", "kernels", "sweep", "bench"} <= set(first)
    assert tuple(checkout.run()) == ALWAYS


def test_what_failed_is_said_and_tried_again_and_the_rest_is_done(checkout: Checkout) -> None:
    assert "bench" in checkout.run(fails="--with int8-weights")
    assert "int8-weights on cpu: exit code 1" in (checkout.out / "left-out.txt").read_text()
    assert checkout.run() == ["device", "bench", "report"]


def test_no_step_begins_when_the_time_is_over(checkout: Checkout) -> None:
    assert tuple(checkout.run(limit=0)) == ALWAYS
    assert "families: no time left" in checkout.said


def test_what_lies_in_the_checkout_is_taken_on(checkout: Checkout) -> None:
    (checkout.home / "done.txt").write_text("doctor\n")
    (checkout.home / "device.jsonl").write_text("a record\n")
    assert "doctor" not in checkout.run()
    assert (checkout.out / "device.jsonl").read_text() == "a record\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, and all of it would be measured")
def test_only_the_gpu_is_missing_for_what_it_times(checkout: Checkout) -> None:
    checkout.run(device="cuda")
    timing = [words for words in checkout.asked if words[0] in ("bench", "sweep", "device", "kernels")]
    assert {"--cuda-graph", "--with", "--cfg", "--backward"} <= {word for words in timing for word in words}
    for words in timing:
        assert re.search("torch sees no NVIDIA GPU here|torch cannot use the device 'cuda' here", refused(2, *words))
