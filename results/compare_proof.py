"""How often the rule of `dimbench compare` errs on this machine, and what it finds.

Run from the root of the checkout: python results/compare_proof.py [LIVE]. It records a long series of processes of the
same code, compares dit-digits with itself LIVE times (20 if not said), and then resamples the series; run again, it
goes on where it stopped. The records go to results/compare-proof.jsonl, the figures to the screen.

The processes time a network call by the code of `dimbench bench`, but are forked from one that has imported torch: so
hundreds of them end within the hour. They differ by all that other work on the machine does to them, not in where the
libraries lie in memory.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from dimbench.commands import calibrate
from dimbench.comparing import pairs
from dimbench.comparing.checkouts import Side
from dimbench.comparing.estimate import Noise
from dimbench.comparing.judge import Change, judge
from dimbench.comparing.rounds import Judge, Progress, Runner, Series, TwoSided
from dimbench.progress import stepping
from dimbench.report import changes as shown
from dimbench.results import Record, append, describe_machine, read
from tests import example

FILE = Path(__file__).with_name("compare-proof.jsonl")
MODEL, BATCH = "dit-digits", 8
LONG, SHORT = 3.0, 0.4  # seconds that a process measures: in the series as compare does, and live
SERIES = 64  # rounds
SIDES = Side("A", Path()), Side("B", Path())
TRIALS = 200
PLANTED = (1.0, 1.05, 1.1, 1.2)  # factors on the seconds of B
CALM = (1.0, 0.5, 0.25)  # shares of the recorded noise that are resampled: as it was, and as a calmer machine has it
ROUNDS = 10


def timed(budget: float) -> float:
    """The median seconds of a network call, in this process."""
    from dimbench import backbone
    from dimbench import stats as series
    from dimbench.bench import timing

    model = backbone.create_model(MODEL)
    inputs = example.inputs(model, BATCH)
    with torch.inference_mode():
        return series.median(timing.measure(lambda: model(**inputs), timing.HOST, timing.Rules(budget=budget)).seconds)


def fresh(budget: float) -> Runner:
    """The same code on both sides, in a process of its own."""

    def run(side: Side, model: str) -> list[dict[str, Any]]:
        with ProcessPoolExecutor(1, get_context("fork")) as pool:
            seconds = pool.submit(timed, budget).result()
        machine = describe_machine()
        conditions = {"batch": BATCH, "threads": 1, "budget": budget, "device_name": machine["processor"]}
        return [entry({"seconds": seconds}, conditions, machine)]

    return run


def entry(metrics: dict[str, float], conditions: dict[str, Any], environment: dict[str, Any]) -> dict[str, Any]:
    parts = {"metrics": metrics, "conditions": conditions, "environment": environment}
    return {"command": "bench", "model": MODEL, **parts}


def stored(command: str) -> list[dict[str, Any]]:
    """The records of a command, in the order in which they were made."""
    return [record for record in read(FILE) if record["command"] == command] if FILE.exists() else []


def calibrated(budget: float, rounds: int) -> dict[str, Any]:
    """The record of A against A with such processes, measured now if there is none."""
    for record in stored("calibrate"):
        if record["conditions"]["budget"] == budget:
            return record
    with stepping(f"A against A, {budget:g} s each", rounds) as progress:
        alike = Series(SIDES, fresh(budget), 0, progress)
        alike.extend([MODEL], rounds)
    append([calibrate.record(pair) for pair in pairs.of_rounds(alike.rounds[MODEL])], FILE)
    return stored("calibrate")[-1]


def compare(run: Runner, noise: Noise, seed: int, progress: Progress) -> tuple[Change, TwoSided]:
    """One whole comparison as the command makes it, with its doublings and its confirmation."""
    verdicts: Judge = lambda found: judge(found, {}, [noise] * len(found))  # noqa: E731
    comparison = TwoSided(SIDES, run, seed, verdicts, (), progress)
    comparison.measure([MODEL], ROUNDS)
    return comparison.changes()[0], comparison


def compare_live(live: int) -> None:
    """Compare the same code with itself."""
    noise = Noise(calibrated(SHORT, ROUNDS)["metrics"]["deviation"])
    for done in range(len(stored("compare")), live):
        with stepping(f"A against A, {done + 1} of {live}", ROUNDS) as progress:
            change, comparison = compare(fresh(SHORT), noise, done, progress)
        append([shown.record(change, order=comparison.order[MODEL])], FILE)
        print(f"{done + 1}: {change.verdict} {change.ratio:.3f} after {len(change.pair.base)} rounds", flush=True)


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


def resample(calm: float) -> None:
    """TRIALS comparisons for each planted factor, out of the long series with a share of its noise."""
    long = calibrated(LONG, SERIES)
    pairs_of_seconds = zip(long["samples"]["first"], long["samples"]["second"], strict=True)
    rounds = [(first, first * (second / first) ** calm) for first, second in pairs_of_seconds]
    noise, lot = Noise(calm * long["metrics"]["deviation"]), random.Random(0)
    for factor in PLANTED:
        runs = (Resampled(rounds, factor, lot) for _ in range(TRIALS))
        made = [compare(run, noise, lot.randrange(2**32), lambda *_: None) for run in runs]
        verdicts = Counter(change.verdict.value for change, _ in made)
        metrics = {verdict: verdicts[verdict] / TRIALS for verdict in ("slower", "unclear", "same", "faster")}
        metrics["rounds"] = sum(len(o) for _, c in made for o in c.order[MODEL]) / 2 / TRIALS
        conditions = {"planted": factor, "deviation": noise.deviation, "trials": TRIALS, "rounds": ROUNDS}
        append([Record("compare-proof", MODEL, conditions, metrics)], FILE)
        print(f"noise {noise.deviation:.1%}, planted {factor - 1:+.0%}: {metrics}", flush=True)


def main(live: int) -> None:
    torch.set_num_threads(1)
    calibrated(LONG, SERIES)
    compare_live(live)
    found = Counter(record["details"]["verdict"] for record in stored("compare"))
    print(f"live, A against A: {dict(found)}")
    for calm in CALM:
        resample(calm)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
