"""The script for a machine with a GPU, with a Python that only notes what it was asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

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

    def run(self, limit: int = 540, fails: str = "nothing fails") -> list[str]:
        """The commands of dimbench that it runs."""
        asked = self.folder / "asked"
        asked.write_text("")
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "OUT": str(self.out), "ASKED": str(asked), "FAILS": fails}
        done = subprocess.run(
            [self.home / "run", "cpu", str(limit)], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        self.said = done.stdout
        words = [line.split() for line in asked.read_text().splitlines()]
        return [each[2] for each in words if each[:2] == ["-m", "dimbench"]]


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
