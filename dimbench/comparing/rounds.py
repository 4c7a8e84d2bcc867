"""Two sides measured in turn, round by round, until it is clear what they say."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dimbench.comparing import pairs
from dimbench.comparing.checkouts import Side
from dimbench.comparing.gates import MetricKind, Verdict
from dimbench.comparing.judge import Change, Pair, confirm, needs_confirming
from dimbench.comparing.kept_rounds import KeptRounds
from dimbench.comparing.pairs import Round

Runner = Callable[[Side, str], list[dict[str, Any]]]  # (side, model) -> records, from a fresh process
Progress = Callable[[int, str, int], None]  # rounds done, which one runs now, rounds in all
Judge = Callable[[Sequence[Pair]], list[Change]]
DOUBLINGS = 2  # of the rounds of a model that is unclear


def orders(seed: int) -> Iterator[tuple[int, int]]:
    """Which side runs first in each round: blocks of two, ABBA or BAAB by lot, so that neither leads more often."""
    lot = random.Random(seed)
    while True:
        first = lot.randrange(2)
        yield first, 1 - first
        yield 1 - first, first


class Series:
    """The rounds of each model so far, whole ones only, and which side ran when, as "ABBA"."""

    def __init__(
        self,
        sides: tuple[Side, Side],
        run: Runner,
        seed: int,
        progress: Progress,
        kept: KeptRounds | None = None,
        again: bool = False,
    ) -> None:
        self._kept, self._again = kept, again
        self.rounds: dict[str, list[Round]] = {}
        self.order: dict[str, str] = {}
        self.asked: dict[str, str] = {}  # by the name of a record's model, what was asked for
        self._sides, self._run, self._progress = sides, run, progress
        self._orders = orders(seed)

    def extend(self, models: Sequence[str], total: int, why: str = "") -> None:
        """Measure until each of the models has `total` rounds; `why` they take so many is said."""
        done = sum(map(len, self.rounds.values()))
        goal = done + sum(total - len(self.rounds.get(model, ())) for model in models)
        for model in models:
            rounds = self.rounds.setdefault(model, [])
            while len(rounds) < total:
                self._progress(done, f"{model}: round {len(rounds) + 1} of {total}{why and f', {why}'}", goal)
                order = next(self._orders)
                rounds.append(self._round(model, len(rounds), order))
                self.asked.update((entry["model"], model) for side in rounds[-1] for entry in side)
                self.order[model] = self.order.get(model, "") + "".join("AB"[side] for side in order)
                done += 1
        self._progress(done, "", goal)

    def _round(self, model: str, number: int, order: tuple[int, int]) -> Round:
        """Measured, unless an earlier process of the same comparison has done it."""
        if self._kept and (found := self._kept.get(self._again, model, number)):
            return found
        sides = {side: self._run(self._sides[side], model) for side in order}
        measured = sides[0], sides[1]
        if self._kept:
            self._kept.add(self._again, model, number, measured)
        return measured

    def until_clear(self, models: Sequence[str], rounds: int, unclear: Callable[[], Sequence[str]]) -> None:
        """Measure `rounds` rounds of each model, then as many again of those that are `unclear`, doubling twice."""
        for doubling in range(DOUBLINGS + 1):
            if models:
                most = f"up to {rounds * 2**DOUBLINGS} where it stays unclear" if doubling < DOUBLINGS else "the last"
                why = most if not doubling else f"for fewer left it unclear, {most}"
                self.extend(models, rounds * 2**doubling, why)
                models = unclear()


class TwoSided:
    """Rounds of two sides, and for the models that look changed an independent second comparison."""

    def __init__(
        self,
        sides: tuple[Side, Side],
        run: Runner,
        seed: int,
        judge: Judge,
        also: Sequence[str],
        progress: Progress,
        kept: KeptRounds | None = None,
    ) -> None:
        def again(done: int, words: str, goal: int) -> None:
            progress(done, words and f"again, for it changed: {words}", goal)

        self.first = Series(sides, run, seed, progress, kept)
        self.second = Series(sides, run, seed + 1, again, kept, again=True)
        self._judge, self._also = judge, also

    def measure(self, models: Sequence[str], rounds: int) -> None:
        """All that it takes; after an interruption `changes` says what the rounds until then do."""
        asked = self.first.asked
        self.first.until_clear(models, rounds, lambda: [asked[name] for name in _unclear(self._judged(self.first))])
        changed = [asked[change.pair.model] for change in self._judged(self.first) if needs_confirming(change)]
        again = list(dict.fromkeys(changed))
        self.second.until_clear(again, rounds, lambda: [asked[name] for name in _unclear(self._judged(self.second))])

    def changes(self) -> list[Change]:
        """The verdict on every row; a change stands if both comparisons say so."""
        again = {_row(change): change for change in self._judged(self.second)}
        return [
            confirm(change, again[_row(change)]) if needs_confirming(change) and _row(change) in again else change
            for change in self._judged(self.first)
        ]

    @property
    def order(self) -> dict[str, list[str]]:
        """Which side ran when, by model: in the first comparison and, where there was one, in the second."""
        both = (self.first.order, self.second.order)
        return {model: [order[model] for order in both if model in order] for model in self.first.order}

    def _judged(self, series: Series) -> list[Change]:
        rounds = series.rounds.values()
        return self._judge([pair for each in rounds for pair in pairs.of_rounds(each, self._also)])


def _unclear(changes: Sequence[Change]) -> list[str]:
    """The models that more rounds may make clear."""
    noisy = (c.pair.model for c in changes if c.verdict is Verdict.UNCLEAR and c.pair.kind is MetricKind.NOISY)
    return list(dict.fromkeys(noisy))


def _row(change: Change) -> tuple[str, str, str]:
    return change.pair.model, repr(change.pair.conditions), change.pair.metric
