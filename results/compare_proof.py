"""How often the rule of `dimbench compare` errs on this machine, and what it finds.

Run from the root of the checkout: python results/compare_proof.py [LIVE]. It calibrates, compares dit-digits with
itself LIVE times (20 if not said) and then resamples the rounds of all that; run again, it goes on where it stopped.
The records go to results/compare-proof.jsonl, the figures to the screen.

The processes time a network call by the same code as `dimbench bench`, but leave out its count of operations and its
description of the machine, so that some hundred of them end within an hour.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from dimbench.commands import calibrate
from dimbench.commands.checkouts import Side
from dimbench.commands.emit import stepping
from dimbench.commands.rounds import Comparison, Judge, Progress, Runner, Series
from dimbench.report import changes as shown
from dimbench.report import pairs
from dimbench.report.compare import METRICS, Change, Noise, judge
from dimbench.results import Record, append, describe_machine, read

FILE = Path(__file__).with_name("compare-proof.jsonl")
MODEL, BATCH, BUDGET = "dit-digits", 8, 0.6  # seconds of warm-up and samples
SIDES = Side("A", Path()), Side("B", Path())
TRIALS = 200
PLANTED = (1.0, 1.05, 1.1, 1.2)  # factors on the seconds of B
ROUNDS = 10


def child() -> None:
    """Print the record of a fresh process."""
    import torch

    from dimbench import presets, registry, series
    from dimbench.measure import timing

    torch.set_num_threads(1)
    preset = presets.find(MODEL)
    model = registry.for_inference(preset, registry.create_model(MODEL))
    inputs = registry.example_inputs(preset, model, BATCH)
    with torch.inference_mode():
        timed = timing.measure(lambda: model(**inputs), timing.HOST, timing.Rules(budget=BUDGET))
    print(json.dumps({"seconds": series.median(timed.seconds), "load": os.getloadavg()[0]}))


def fresh(side: Side, model: str) -> list[dict[str, Any]]:
    """The same code on both sides, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "child"], capture_output=True, text=True, check=True)
    machine = describe_machine()
    conditions = {"batch": BATCH, "threads": 1, "dtype": "fp32", "budget": BUDGET, "device_name": machine["processor"]}
    return [entry(json.loads(done.stdout), conditions, machine)]


def entry(metrics: dict[str, float], conditions: dict[str, Any], environment: dict[str, Any]) -> dict[str, Any]:
    parts = {"metrics": metrics, "conditions": conditions, "environment": environment}
    return {"command": "bench", "model": MODEL, **parts}


def stored(command: str) -> list[dict[str, Any]]:
    """The records of a command, in the order in which they were made."""
    return [record for record in read(FILE) if record["command"] == command] if FILE.exists() else []


def known() -> Noise:
    return Noise(stored("calibrate")[0]["metrics"]["deviation"])


def compare(run: Runner, noise: Noise, seed: int, progress: Progress) -> tuple[Change, Comparison]:
    """One whole comparison as the command makes it, with its doublings and its confirmation."""
    verdicts: Judge = lambda found: judge(found, {}, [noise] * len(found))  # noqa: E731
    comparison = Comparison(SIDES, run, seed, verdicts, (), progress)
    comparison.measure([MODEL], ROUNDS)
    return comparison.changes()[0], comparison


def measure(live: int) -> None:
    """Calibrate once, then compare the same code with itself."""
    with stepping("calibrating", ROUNDS) as progress:
        if not stored("calibrate"):
            alike = Series(SIDES, fresh, 0, progress)
            alike.extend([MODEL], ROUNDS)
            append([calibrate.record(pair) for pair in pairs.of_rounds(alike.rounds[MODEL])], FILE)
    for done in range(len(stored("compare")), live):
        with stepping(f"A against A, {done + 1} of {live}", ROUNDS) as progress:
            change, comparison = compare(fresh, known(), done, progress)
        append([shown.record(change, order=comparison.order[MODEL])], FILE)
        print(f"{done + 1}: {change.verdict} {change.ratio:.3f} after {len(change.pair.base)} rounds", flush=True)


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
        return [entry({"seconds": self.waiting.pop(side.label)}, {}, {})]


def main(live: int) -> None:
    measure(live)
    rounds, lot = series(), random.Random(0)
    found = Counter(entry["details"]["verdict"] for entry in stored("compare"))
    print(f"live, A against A: {dict(found)}; {len(rounds)} rounds in all")
    for factor in PLANTED:
        runs = (Resampled(rounds, factor, lot) for _ in range(TRIALS))
        made = [compare(run, known(), lot.randrange(2**32), lambda *_: None) for run in runs]
        verdicts = Counter(change.verdict.value for change, _ in made)
        metrics = {verdict: verdicts[verdict] / TRIALS for verdict in ("slower", "unclear", "same", "faster")}
        metrics["rounds"] = sum(len(o) for _, c in made for o in c.order[MODEL]) / 2 / TRIALS
        conditions = {"planted": factor, "trials": TRIALS, "rounds": ROUNDS, "margin": METRICS["seconds"].margin}
        append([Record("compare-proof", MODEL, conditions, metrics)], FILE)
        print(f"planted {factor - 1:+.0%}: {metrics}")


if __name__ == "__main__":
    if sys.argv[1:] == ["child"]:
        child()
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
