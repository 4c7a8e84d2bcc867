"""Two record files, commits or settings compared: what changed, by which rules, and what stopped the measuring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dimbench import results
from dimbench.comparing import checkouts, pairs
from dimbench.comparing.checkouts import Side
from dimbench.comparing.estimate import Noise
from dimbench.comparing.gates import Gate
from dimbench.comparing.judge import Change, Pair, judge
from dimbench.comparing.kept_rounds import KeptRounds
from dimbench.comparing.rounds import Runner, TwoSided
from dimbench.errors import DimbenchError, UsageError
from dimbench.progress import stepping


@dataclass(frozen=True)
class JudgedBy:
    """By what a change is judged: the user's gates, and the noise of this host's devices by their name."""

    gates: Sequence[Gate]
    noise: Mapping[str, Noise]

    @property
    def metrics(self) -> list[str]:
        return [gate.metric for gate in self.gates]

    def judge(self, found: Sequence[Pair]) -> list[Change]:
        margins = {gate.metric: gate.margin for gate in self.gates if gate.margin is not None}
        return judge(found, margins, [self.noise.get(pair.conditions.get("device_name", "")) for pair in found])


@dataclass(frozen=True)
class Found:
    """The changes, what BASE and NEW are, in which order the sides ran (by model, of the first and of the second
    comparison), and what stopped the measuring before its end."""

    changes: Sequence[Change]
    labels: Mapping[str, str]
    left_out: Sequence[str] = ()
    order: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stopped: BaseException | None = None

    @property
    def metrics(self) -> set[str]:
        return {change.pair.metric for change in self.changes}


def of_files(base: str, new: str, rules: JudgedBy) -> Found:
    """What two record files say."""
    return of_records(results.read(Path(base)), results.read(Path(new)), (base, new), rules)


def of_records(
    base: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], labels: tuple[str, str], rules: JudgedBy
) -> Found:
    """What the records of both sides say."""
    found, left_out = pairs.of_files(base, new, rules.metrics)
    return Found(rules.judge(found), dict(zip(("BASE", "NEW"), labels, strict=True)), left_out)


def of_sides(
    sides: tuple[Side, Side],
    models: Sequence[str],
    rules: JudgedBy,
    rounds: int,
    runner: Runner,
    seed: int,
    kept: KeptRounds,
) -> Found:
    """What both sides measured in turn say; an interruption or a failure leaves what the finished rounds say."""
    stopped: BaseException | None = None
    with stepping("comparing", None) as progress:
        comparison = TwoSided(sides, runner, seed, rules.judge, rules.metrics, progress, kept)
        try:
            comparison.measure(models, rounds)
        except (KeyboardInterrupt, DimbenchError) as reason:  # the finished rounds are shown and stored first
            stopped = reason
    labels = {"BASE": sides[0].label, "NEW": sides[1].label}
    return Found(comparison.changes(), labels, [], comparison.order, stopped)


@contextmanager
def sides(ref: str | None, new: Path | None, a: str, b: str, common: str) -> Iterator[tuple[Side, Side]]:
    """BASE and NEW: a commit and a checkout, or the dimbench that runs now under two settings."""
    first, second = (checkouts.options(f"{common} {own}") for own in (a, b))
    if ref is None:
        if new:
            raise UsageError(f"--new {new} was given without --run; give the commit to compare it with as --run REF")
        here = checkouts.here()
        labels = (" ".join(("bench", *words)) for words in (first, second))
        yield Side(next(labels), here, first), Side(next(labels), here, second)
        return
    root = checkouts.find(new)
    with checkouts.worktree(root, ref) as (place, commit):
        now = "the current checkout" if new is None else f"the checkout {root.name}"
        yield Side(f"{ref} ({commit})", place, first), Side(now, root, second)
