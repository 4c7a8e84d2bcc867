"""Which bench records lie on one curve along a condition, which curves are compared, and what is sure of a point."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dimbench import conditions as keys
from dimbench.comparing.gates import METRICS
from dimbench.comparing.judge import GPU_MARGIN
from dimbench.report.wording import words

Raw = Mapping[str, Any]  # a record as dimbench.results.read gives it
_EXACT = ("macs", "params")
CPU_MARGIN = METRICS["seconds"].margin or 0.0  # by which processes of unchanged code differ, beyond their intervals


@dataclass(frozen=True)
class TimedPoint:
    """A figure with the bounds of its interval, None where nothing is known of its spread. `margin` is the share by
    which the same may come out otherwise in another process; a `doubtful` reading carries a warning."""

    value: float
    low: float | None
    high: float | None
    margin: float = 0.0
    doubtful: bool = False

    def order(self, other: TimedPoint) -> int:
        """-1 where this is surely the smaller, 1 where the larger, 0 where that is not sure."""
        return self._surely_above(other) - other._surely_above(self)

    def _surely_above(self, other: TimedPoint) -> bool:
        if self.low is None or other.high is None:
            return False
        return self.low > other.high * (1 + max(self.margin, other.margin))


Curve = Mapping[float, TimedPoint]
"""Place along the condition -> reading."""


@dataclass(frozen=True)
class Bundle:
    """Records that may be compared along a condition: all share `conditions`, but for the place and for what follows
    from the model. By the curve's name its model and, place by place, its newest record."""

    conditions: Raw
    models: Mapping[str, str]
    records: Mapping[str, Mapping[float, Raw]]

    def curves(self, metric: str) -> dict[str, Curve]:
        """The curves by name; a place without a figure is left out, and so is a curve without a place."""
        found = {
            name: {place: got for place, record in records.items() if (got := reading(record, metric))}
            for name, records in self.records.items()
        }
        return {name: curve for name, curve in found.items() if curve}


def bundles(records: Iterable[Raw], along: str) -> list[Bundle]:
    """The records by all conditions but `along`, where that is a number. A model has as many curves as there are
    conditions of its own."""
    groups: dict[str, dict[tuple[str, str], list[Raw]]] = {}
    for record in records:
        if isinstance(record["conditions"].get(along), int | float):
            shared = keys.key(record["conditions"], (along, *keys.OF_MODEL))
            own = record["model"], keys.key(record["conditions"], (along,))
            groups.setdefault(shared, {}).setdefault(own, []).append(record)
    return [_bundle(list(group.values()), along) for group in groups.values()]


def _bundle(curves: Sequence[Sequence[Raw]], along: str) -> Bundle:
    firsts = [curve[0] for curve in curves]
    names = [_name(first, firsts) for first in firsts]
    places = [{float(record["conditions"][along]): record for record in curve} for curve in curves]
    shared = keys.left(firsts[0]["conditions"], (along, *keys.OF_MODEL))
    models = {name: first["model"] for name, first in zip(names, firsts, strict=True)}
    return Bundle(shared, models, dict(zip(names, places, strict=True)))


def _name(record: Raw, among: Sequence[Raw]) -> str:
    """The model, and in what its curve differs from another curve of the same model."""
    same = [keys.left(other["conditions"]) for other in among if other["model"] == record["model"]]
    own = [name for name in keys.varying(same) if name in keys.OF_MODEL]
    said = words({name: record["conditions"].get(name) for name in own}) or ("otherwise" if own else "")
    return f"{record['model']} ({said})" if said else str(record["model"])


def reading(record: Raw, metric: str) -> TimedPoint | None:
    """What a record says of a metric; None where it was not measured."""
    metrics = record["metrics"]
    value = metrics.get(metric)
    if not value or not math.isfinite(value):
        return None
    on_gpu = record["conditions"].get("device") == "cuda"
    if metric in _EXACT or (metric == "peak_bytes" and on_gpu):  # a GPU's allocator gives the same peak each time
        return TimedPoint(value, value, value)
    low, high = _BOUNDS.get(metric, _unknown)(metrics)
    doubtful = low is None or bool(record.get("warnings"))
    return TimedPoint(value, low, high, GPU_MARGIN if on_gpu else CPU_MARGIN, doubtful)


Bounds = tuple[float | None, float | None]


def _unknown(metrics: Raw) -> Bounds:
    return None, None


def _of_seconds(metrics: Raw) -> Bounds:
    return metrics.get("seconds_low"), metrics.get("seconds_high")


def _of_rate(metrics: Raw) -> Bounds:
    """A rate is as unsure as the time of a call."""
    low, high, middle, rate = (metrics.get(n) for n in ("seconds_low", "seconds_high", "seconds", "images_per_second"))
    return (rate * middle / high, rate * middle / low) if low and high and middle else (None, None)


_BOUNDS: Mapping[str, Callable[[Raw], Bounds]] = {"seconds": _of_seconds, "images_per_second": _of_rate}
