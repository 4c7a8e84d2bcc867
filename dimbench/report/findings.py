"""What a heap of records says: comparisons with their outcome, series over time, environments that differ."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dimbench import conditions, stats
from dimbench.errors import DimbenchError
from dimbench.report import metrics
from dimbench.report.wording import shared, words

Raw = Mapping[str, Any]  # a record, or a part of one, as dimbench.results.read gives it


class Outcome(StrEnum):
    """What a compared row means for the one who decides, the gravest first."""

    REGRESSION = "regression confirmed"
    CHANGED = "exact metric changed"
    LOST = "no longer measured"
    UNCLEAR = "unclear"
    BETTER = "better"
    SAME = "same"
    EQUAL = "exact metric unchanged"


GRAVE = (Outcome.REGRESSION, Outcome.CHANGED, Outcome.LOST)
_OUTCOMES = {"changed": Outcome.CHANGED, "same": Outcome.SAME, "equal": Outcome.EQUAL}
_IF_CONFIRMED = {
    "slower": Outcome.REGRESSION,
    "worse": Outcome.REGRESSION,
    "faster": Outcome.BETTER,
    "better": Outcome.BETTER,
}
_NOUNS = re.compile(r"\b(regression|metric|measurement|model)\b")


@dataclass(frozen=True)
class Compared:
    """A `compare` record. `low` and `high` bound `ratio` = new / base; where there is no ratio, `margin` is a
    difference. `environments` are those of base and new."""

    model: str
    command: str
    conditions: Raw
    metric: str
    outcome: Outcome
    verdict: str
    base: float | None
    new: float | None
    ratio: float | None
    low: float | None
    high: float | None
    margin: float | None
    reason: str
    environments: tuple[Raw, Raw]

    @property
    def exact(self) -> bool:
        return self.outcome in (Outcome.CHANGED, Outcome.EQUAL)


@dataclass(frozen=True)
class History:
    """The records of one command for one model under the same conditions, the oldest first."""

    records: Sequence[Raw]

    @property
    def latest(self) -> Raw:
        return self.records[-1]

    @property
    def command(self) -> str:
        return str(self.latest["command"])

    @property
    def model(self) -> str:
        return str(self.latest["model"])

    @property
    def conditions(self) -> Raw:
        return self.latest["conditions"]

    @property
    def measured(self) -> bool:
        """Whether the latest record has what its command measures first; a row that ran out of memory has not."""
        values = self.latest["metrics"]
        names = metrics.shown(self.command, [values])
        return not names or value(values[names[0]]) is not None

    @property
    def samples_without_interval(self) -> int:
        """How many samples the latest times rest on, where they are too few for an interval; else 0."""
        samples = self.latest.get("samples", {}).get("seconds", ())
        return len(samples) if samples and stats.median_interval(samples) is None else 0


@dataclass(frozen=True)
class Point:
    """One metric of one record; the interval and the quartiles only where there is a raw series behind it."""

    created: str
    value: float
    interval: tuple[float, float] | None = None
    quartiles: tuple[float, float] | None = None
    count: int = 1


@dataclass(frozen=True)
class Findings:
    """All that a report shows."""

    comparisons: Sequence[Compared]
    series: Sequence[History]

    def having(self, *outcomes: Outcome) -> list[Compared]:
        return [row for row in self.comparisons if row.outcome in outcomes]

    def by_command(self) -> dict[str, list[History]]:
        found: dict[str, list[History]] = {}
        for one in self.series:
            found.setdefault(one.command, []).append(one)
        return found

    def verdict(self) -> tuple[str, str]:
        """The answer in a sentence, and its tone: "good", "bad", "warn", or "" where nothing was compared."""
        if not self.comparisons:
            models = len({one.model for one in self.series})
            lost = sum(not one.measured for one in self.series)
            said = f"{_count(len(self.series), 'measurement')} of {_count(models, 'model')}"
            said += f", {lost} of them without a result" if lost else ""
            return f"Nothing was compared: {said}.", "warn" if lost else ""
        counted = Counter(row.outcome for row in self.comparisons)
        said = ", ".join(_count(counted[outcome], outcome) for outcome in Outcome if counted[outcome])
        tone = "bad" if any(counted[outcome] for outcome in GRAVE) else "warn" if counted[Outcome.UNCLEAR] else "good"
        return f"{'' if tone == 'bad' else 'No regression confirmed: '}{said}.", tone

    def warnings(self) -> dict[str, list[str]]:
        """Each warning of the latest records, with the rows it was given for."""
        found: dict[str, list[str]] = {}
        for rows in self.by_command().values():
            same = shared([one.conditions for one in rows])
            many = Counter(one.model for one in rows)
            for one in rows:
                said = words(one.conditions, same) if many[one.model] > 1 else ""
                name = f"{one.model} ({said})" if said else one.model
                for warning in one.latest.get("warnings", ()):
                    found.setdefault(str(warning), []).append(name)
        return found


def gather(records: Iterable[Raw]) -> Findings:
    """Comparisons with the gravest first, and all other records by series in the order of first appearance.

    A comparison that was made again stands for the older ones.
    """
    heaps: dict[str, list[Raw]] = {}
    for record in sorted(records, key=lambda record: str(record["created"])):
        compared = [record.get("details", {}).get(name) for name in ("of", "metric")]
        key = json.dumps([record["command"], record["model"], conditions.key(record["conditions"]), compared])
        heaps.setdefault(key, []).append(record)
    comparisons = [_comparison(heap[-1]) for heap in heaps.values() if heap[0]["command"] == "compare"]
    comparisons.sort(key=lambda row: list(Outcome).index(row.outcome))
    return Findings(comparisons, [History(heap) for heap in heaps.values() if heap[0]["command"] != "compare"])


def _comparison(record: Raw) -> Compared:
    model = str(record["model"])
    try:
        details = record["details"]
        numbers = {name: value(record["metrics"][name]) for name in ("base", "new", "ratio", "low", "high", "margin")}
        verdict, metric = _part(details, "verdict", str), _part(details, "metric", str)
        environments = (_part(details, "base_environment", dict), _part(details, "new_environment", dict))
        outcome = _outcome(verdict, bool(details["confirmed"]), numbers["base"], numbers["new"])
    except KeyError as missing:
        raise DimbenchError(
            f"a compare record of {model} has no {missing}; give records that `dimbench compare` of this version wrote"
        ) from None
    if verdict in _IF_CONFIRMED:
        verdict += ", confirmed" if outcome is _IF_CONFIRMED[verdict] else ", not confirmed"
    reason = str(details.get("reason") or "; ".join(record.get("warnings", ())))
    return Compared(
        model,
        str(details.get("of", "")),
        record["conditions"],
        metric,
        outcome,
        verdict,
        **numbers,
        reason=reason,
        environments=environments,
    )


def _part(details: Raw, name: str, kind: type) -> Any:
    """An entry of the details; KeyError where there is none of this kind."""
    found = details[name]
    if not isinstance(found, kind) or found == "":
        raise KeyError(name)
    return found


def _outcome(verdict: str, confirmed: bool, base: float | None, new: float | None) -> Outcome:
    """A change that was not confirmed is unclear, and so is a verdict that this version does not know."""
    if new is None:
        return Outcome.LOST
    if base is None:
        return Outcome.UNCLEAR
    if verdict in _IF_CONFIRMED and confirmed:
        return _IF_CONFIRMED[verdict]
    return _OUTCOMES.get(verdict, Outcome.UNCLEAR)


def _count(number: int, words: str) -> str:
    """ "1 regression confirmed", "2 regressions confirmed"."""
    return f"{number} " + (words if number == 1 else _NOUNS.sub(r"\1s", words))


def value(number: float | None) -> float | None:
    """The number where it is one; None for NaN and infinities, which JSON and charts cannot hold."""
    return number if number is not None and math.isfinite(number) else None


def point(record: Raw, metric: str) -> Point | None:
    """What a record says of a metric, from its raw series where it kept one; None where it was not measured."""
    samples = record.get("samples", {}).get(metric)
    if samples:
        enough = len(samples) >= stats.QUARTILES_NEED
        quartiles = (stats.quantile(samples, 0.25), stats.quantile(samples, 0.75)) if enough else None
        interval = stats.median_interval(samples)
        return Point(record["created"], stats.median(samples), interval, quartiles, len(samples))
    number = value(record["metrics"].get(metric))
    return None if number is None else Point(record["created"], number)
