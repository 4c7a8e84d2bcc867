"""How often `dimbench compare` errs on this machine, and what it finds.

Run from the root of the checkout: python results/compare_proof.py [LIVE]. It calibrates, compares dit-digits with
itself LIVE times (20 if not said) and then resamples the rounds of all that; run again, it goes on where it stopped.
The records go to results/compare-proof.jsonl, the figures to the screen.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from dimbench.commands.checkouts import Side
from dimbench.commands.rounds import Comparison
from dimbench.report.compare import METRICS, Change, Noise, Pair, judge
from dimbench.results import Record, append, read

FILE = Path(__file__).with_name("compare-proof.jsonl")
BENCH = ["dit-digits", "--bench", "--batch 8 --threads 1", "--budget", "1"]
TRIALS = 200
PLANTED = (1.0, 1.05, 1.1, 1.2)  # factors on the seconds of B
ROUNDS = 10


def stored(command: str) -> list[dict[str, Any]]:
    """The records of the times of a command, in the order in which they were made."""
    entries = read(FILE) if FILE.exists() else []
    return [e for e in entries if e["command"] == command and e["details"].get("metric", "seconds") == "seconds"]


def dimbench(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "dimbench", *words, "--out", str(FILE)])
    if done.returncode not in (0, 3):
        sys.exit(done.returncode)


def measure(live: int) -> None:
    """Calibrate once, then compare the same code with itself."""
    if not stored("calibrate"):
        dimbench("calibrate", *BENCH)
    while (done := len(stored("compare"))) < live:
        print(f"A against A, {done + 1} of {live}", file=sys.stderr)
        dimbench("compare", *BENCH, "--a", "", "--seed", str(done), "--fail-if", "seconds")


def series() -> list[tuple[float, float]]:
    """Seconds of both processes of every round, in the order in which they ran; all of the same code."""
    rounds: list[tuple[float, float]] = []
    for entry in stored("calibrate"):
        rounds += zip(entry["samples"]["first"], entry["samples"]["second"], strict=True)
    for entry in stored("compare"):
        for again in ("", "_again"):
            sides = (entry["samples"].get(side + again, []) for side in ("base", "new"))
            rounds += zip(*sides, strict=True)
    return rounds


class Resampled:
    """In the place of fresh processes: stretches of the real rounds, each turned round by lot, B slowed by a factor."""

    def __init__(self, rounds: list[tuple[float, float]], factor: float, lot: random.Random) -> None:
        self.rounds, self.factor, self.lot = rounds, factor, lot
        self.next = lot.randrange(len(rounds))
        self.waiting: dict[str, float] = {}

    def __call__(self, side: Side, model: str) -> list[dict[str, Any]]:
        if side.label not in self.waiting:
            first, second = self.rounds[self.next % len(self.rounds)]
            self.next += 1
            a, b = (first, second) if self.lot.random() < 0.5 else (second, first)
            self.waiting = {"A": a, "B": b * self.factor}
        metrics = {"seconds": self.waiting.pop(side.label)}
        return [{"command": "bench", "model": model, "conditions": {}, "metrics": metrics, "environment": {}}]


def trial(rounds: list[tuple[float, float]], noise: Noise, factor: float, lot: random.Random) -> Change:
    """One whole comparison, with its doublings and its confirmation."""

    def verdicts(found: list[Pair]) -> list[Change]:
        return judge(found, {}, [noise] * len(found))

    sides = Side("A", Path()), Side("B", Path())
    run = Resampled(rounds, factor, lot)
    comparison = Comparison(sides, run, lot.randrange(2**32), verdicts, (), lambda done, words, goal: None)
    comparison.measure(["dit-digits"], ROUNDS)
    return comparison.changes()[0]


def main(live: int) -> None:
    measure(live)
    noise = Noise(stored("calibrate")[-1]["metrics"]["deviation"])
    rounds, lot = series(), random.Random(0)
    found = Counter(entry["details"]["verdict"] for entry in stored("compare"))
    print(f"live, A against A: {dict(found)}; {len(rounds)} rounds in all")
    for factor in PLANTED:
        changes = [trial(rounds, noise, factor, lot) for _ in range(TRIALS)]
        verdicts = Counter(change.verdict.value for change in changes)
        metrics = {verdict: verdicts[verdict] / TRIALS for verdict in ("slower", "unclear", "same", "faster")}
        metrics["rounds"] = sum(len(c.pair.base) + len(c.second.base if c.second else ()) for c in changes) / TRIALS
        conditions = {"planted": factor, "trials": TRIALS, "rounds": ROUNDS, "margin": METRICS["seconds"].margin}
        append([Record("compare-proof", "dit-digits", conditions, metrics)], FILE)
        print(f"planted {factor - 1:+.0%}: {metrics}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
