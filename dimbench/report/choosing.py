"""Models side by side for one who has to choose: what is counted, timed and published of each, in one row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dimbench import conditions as keys
from dimbench import image_size, names, units
from dimbench.counting import kept
from dimbench.errors import UsageError
from dimbench.papers.published import BestFid, best_fid
from dimbench.report.curves import TimedPoint, reading
from dimbench.report.grids import Grid
from dimbench.report.tables import Cell, Table
from dimbench.report.wording import pixels, words

Raw = Mapping[str, Any]  # a record as dimbench.results.read gives it
UNSURE = "~"  # before a ratio of times whose intervals do not tell which is the faster
_TIMED = ("seconds", "images", "memory", "mfu")


@dataclass(frozen=True)
class Candidate:
    """What is known of a model: `params` and `macs` are counted, `timed` is its newest bench record under conditions
    that all of them share, `published` its best FID; None for what is not known."""

    model: str
    px: str
    params: float | None
    macs: float | None
    timed: Raw | None
    published: BestFid | None

    @property
    def seconds(self) -> TimedPoint | None:
        return reading(self.timed, "seconds") if self.timed else None

    def metric(self, name: str) -> float | None:
        """Of its bench record."""
        return self.timed["metrics"].get(name) if self.timed else None

    def value(self, column: str) -> float | None:
        """The number in a column of COLUMNS."""
        match column:
            case "params" | "macs":
                return getattr(self, column)
            case "fid":
                return self.published.fid if self.published else None
            case "px":
                return float(self.px.split("x")[0]) if self.px[:1].isdigit() else None
        return self.metric(_METRICS[column])


_METRICS = {"seconds": "seconds", "images": "images_per_second", "memory": "peak_bytes", "mfu": "mfu"}
_MORE_IS_BETTER = ("images", "mfu")
_BEST = {"time": "least", "images/s": "most", "memory": "least", "MFU": "most", "FID": "least"}
_HEADINGS = {
    "px": "px", "params": "parameters", "macs": "MACs", "seconds": "time", "images": "images/s", "memory": "memory",
    "mfu": "MFU", "fid": "FID",
}  # fmt: skip
COLUMNS = tuple(_HEADINGS)
_ENTRIES = {  # of a column, where they are not of its name alone
    "macs": ("macs", "macs_ratio"),
    "seconds": ("seconds", "seconds_low", "seconds_high", "seconds_ratio"),
    "images": ("images_per_second",),
    "memory": ("peak_bytes",),
    "fid": ("fid", "fid_of"),
}
_FIRST_OUT = ("MFU", "FID of", "px", "memory", "images/s", "MACs x", "parameters")


@dataclass(frozen=True)
class Shortlist:
    """The choices, the first of which the others are compared with; the `conditions` of all times among them, and how
    many bench records of these models are left out for other conditions or as older."""

    choices: Sequence[Candidate]
    conditions: Raw
    elsewhere: int

    def _repr_html_(self) -> str:
        from dimbench.report.notebook import of_table

        return of_table(table(self))

    def sorted(self, by: str, keep_first: bool = False) -> Shortlist:
        """The best first by a column of COLUMNS, what is not known last; `keep_first` leaves the first where it is."""
        sign = -1 if by in _MORE_IS_BETTER else 1

        def place(choice: Candidate) -> float:
            value = choice.value(by)
            return math.inf if value is None else sign * value

        fixed = list(self.choices[:keep_first])
        return replace(self, choices=fixed + sorted(self.choices[keep_first:], key=place))

    def entries(self) -> list[dict[str, Any]]:
        """A flat row for each, numbers in SI units, None for what is not known."""
        first = self.choices[0]
        return [
            {
                "model": choice.model,
                "px": int(choice.px) if choice.px.isdigit() else choice.px,
                "params": choice.params,
                "macs": choice.macs,
                "macs_ratio": _over(choice.macs, first.macs),
                **{name: choice.metric(name) for name in ("seconds", "seconds_low", "seconds_high")},
                "seconds_ratio": _over(choice.metric("seconds"), first.metric("seconds")),
                **{name: choice.metric(name) for name in ("images_per_second", "peak_bytes", "mfu")},
                "fid": choice.value("fid"),
                "fid_of": choice.published and choice.published.says,
                "conditions": dict(choice.timed["conditions"]) if choice.timed else None,
                "warnings": list(choice.timed.get("warnings", ())) if choice.timed else [],
            }
            for choice in self.choices
        ]


def column(name: str, option: str) -> str:
    """The column of COLUMNS that an option names. UsageError where there is none."""
    return names.find(name, {each: each for each in COLUMNS}, f"column of {option}")


def shortlist(
    counted: Iterable[Raw], records: Sequence[Raw], benchmark: str | None = None, where: Raw | None = None
) -> Shortlist:
    """The models of the records `counted`, of `flops` or `bench`, in their order, with their times from `records`.

    Of the bench records that fit `where` and are of the size that was counted, those under the same conditions that
    tell of most models count, of as many the newest. FIDs are of `benchmark`, such as "imagenet-256", or of any.
    """
    models = {record["model"]: record for record in counted}
    benched = [record for record in _benched(records) if record["model"] in models]
    best = _alike(
        record
        for record in benched
        if pixels(record["conditions"]) == pixels(models[record["model"]]["conditions"])
        and all(record["conditions"].get(name) == value for name, value in (where or {}).items())
    )
    choices = [
        Candidate(
            model,
            pixels(record["conditions"]) or "its own",
            record["metrics"].get("params"),
            record["metrics"].get("macs"),
            best.get(model),
            best_fid(model, benchmark),
        )
        for model, record in models.items()
    ]
    shared = keys.left(next(iter(best.values()))["conditions"], keys.OF_MODEL) if best else {}
    return Shortlist(choices, shared, len(benched) - len(best))


def timed_alike(records: Sequence[Raw]) -> Shortlist:
    """The models that were timed under the same conditions, where those tell of most models, counted at that size, in
    the order of their records."""
    benched = _benched(records)
    best = _alike(benched)
    return shortlist([as_counted(record) for record in benched if best.get(record["model"]) is record], records)


def _benched(records: Sequence[Raw]) -> list[Raw]:
    """Times of a call."""
    return [
        record
        for record in records
        if record["command"] == "bench"
        and record["conditions"].get("mode", "inference") == "inference"
        and record["metrics"].get("seconds") is not None
    ]


def _alike(benched: Iterable[Raw]) -> dict[str, Raw]:
    """By model those under the same conditions that tell of most models, of as many the newest."""
    groups: dict[str, dict[str, Raw]] = {}
    for record in sorted(benched, key=lambda record: str(record["created"])):
        groups.setdefault(_shared(record), {})[record["model"]] = record
    return max(
        groups.values(), key=lambda group: (len(group), max(str(r["created"]) for r in group.values())), default={}
    )


def as_counted(record: Raw) -> Raw:
    """The record of `bench` with the parameters and multiply-adds that `flops` gives of its model, where they need not
    be counted again; what was timed may have had merged branches."""
    sides = [record["conditions"].get(name) for name in ("resolution", "width")]
    resolution = "x".join(str(side) for side in sides if side)
    try:
        found = kept.known(record["model"], image_size.parse(resolution, 10**6))
    except UsageError:  # no model, or no size, of ours
        return record
    if found is None:
        return record
    return {**record, "metrics": {**record["metrics"], **found.params, "macs": found.macs("macs")}}


def _shared(record: Raw) -> str:
    return keys.key(record["conditions"], keys.OF_MODEL)


@dataclass(frozen=True)
class _Column:
    """How a figure reads, and what it sorts by."""

    heading: str
    show: Callable[[Candidate], str]
    key: Callable[[Candidate], float | str | None]


def _columns(found: Shortlist, wanted: Sequence[str]) -> list[_Column]:
    """The model, then what is wanted of COLUMNS, with ratios beside what is compared."""
    first = found.choices[0]
    shown = [_Column("model", lambda choice: choice.model, lambda choice: choice.model)]
    for name in wanted:
        if wanted is COLUMNS and _goes_without(found, name):
            continue
        shown.append(_Column(_HEADINGS[name], _SHOW[name], partial(Candidate.value, column=name)))
        if name == "macs":
            shown.append(
                _Column("MACs x", lambda choice: _ratio(_over(choice.macs, first.macs)), lambda choice: choice.macs)
            )
        elif name == "seconds":
            shown.append(
                _Column("time x", lambda choice: _time_ratio(choice, first), lambda choice: choice.metric("seconds"))
            )
        elif name == "fid":
            says = lambda choice: choice.published.says if choice.published else ""  # noqa: E731
            shown.append(_Column("FID of", says, says))
    return shown


def _goes_without(found: Shortlist, name: str) -> bool:
    """Whether a note says what the column would: all have the same, or none has anything."""
    if name == "px":
        return bool(_side(found))
    return name in _TIMED and all(choice.timed is None for choice in found.choices)


def _side(found: Shortlist) -> str:
    """The resolution that all have; "" where they differ."""
    sides = {choice.px for choice in found.choices}
    return sides.pop() if len(sides) == 1 else ""


def table(found: Shortlist, wanted: Sequence[str] = COLUMNS) -> Table:
    """One row for each model, with ratios to the first; `wanted` are some of COLUMNS."""
    columns = _columns(found, wanted)
    rows = [[column.show(choice) for column in columns] for choice in found.choices]
    names = [column.heading for column in columns]
    figures = ["model", *(figure for name in wanted for figure in _ENTRIES.get(name, (name,)))]
    entries = [{figure: entry[figure] for figure in figures} for entry in found.entries()]
    return Table(names, rows, notes=_notes(found, wanted, rows), first_out=_FIRST_OUT, best=_BEST, entries=entries)


def grid(found: Shortlist) -> Grid:
    """The same for a page, where it can be sorted."""
    columns = _columns(found, COLUMNS)
    cells = [
        [
            Cell(column.show(choice), column.key(choice), tone="" if column.key(choice) is not None else "soft")
            for column in columns
        ]
        for choice in found.choices
    ]
    rows = [[cell.text for cell in row] for row in cells]
    return Grid([column.heading for column in columns], cells, note="\n".join(_notes(found, COLUMNS, rows)))


def _notes(found: Shortlist, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    timed = any(name in columns for name in _TIMED)
    first = found.choices[0]
    notes = [f"x: times the figure of {first.model}."] if len(found.choices) > 1 else []
    if side := _side(found):
        notes.append(f"At {side} pixels; MACs of one pass by rule macs.")
    elif "px" not in columns:
        sizes = ", ".join(f"{choice.model} {choice.px}" for choice in found.choices)
        notes.append(f"At unlike sizes ({sizes}); MACs of one pass by rule macs.")
    if timed and found.conditions:
        notes.append(
            f"Times: medians; {words({name: value for name, value in found.conditions.items() if name not in _SAID})}."
        )
    if any(cell.startswith(UNSURE) for row in rows for cell in row):
        notes.append(_UNSURE_SAYS)
    if timed and (missing := [choice.model for choice in found.choices if choice.timed is None]):
        which = f"under these conditions: {', '.join(missing)}" if found.conditions else "here: times and memory"
        notes.append(f"Not measured {which}; --measure does.")
    if timed and found.elsewhere:
        many = f"{found.elsewhere} {'times' if found.elsewhere > 1 else 'time'}"
        notes.append(f"Not shown: {many} of these models under other conditions, or older.")
    if "fid" in columns and any(choice.published for choice in found.choices):
        notes.append("FID: the best published; of other trainings, guidance and decoders it compares with care only.")
    for choice in found.choices if timed else ():
        notes += [f"{choice.model}: {warning}" for warning in (choice.timed or {}).get("warnings", ())]
    return notes


_SAID = ("device", "mode", "resolution")  # by the device's name, by what is shown and above

_UNSURE_SAYS = (
    f"{UNSURE}: the intervals, with what processes of the same code differ by, do not tell which is the faster."
)


def _time_ratio(choice: Candidate, first: Candidate) -> str:
    ratio = _over(choice.metric("seconds"), first.metric("seconds"))
    here, there = choice.seconds, first.seconds
    sure = choice is first or (here is not None and there is not None and here.order(there) != 0)
    return ("" if sure or ratio is None else UNSURE) + _ratio(ratio)


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else units.rate(ratio, 3)


def _over(value: float | None, first: float | None) -> float | None:
    return value / first if value is not None and first else None


def _time(choice: Candidate) -> str:
    found = choice.seconds
    if found is None:
        return units.NOT_MEASURED
    if found.low is None or found.high is None:
        return units.seconds(found.value, units.FEW_DIGITS)
    return f"{units.seconds(found.value)} ± {units.share((found.high - found.low) / 2, found.value)}"


def _shows(name: str, show: Callable[[float], str]) -> Callable[[Candidate], str]:
    by_name = {"params": units.NOT_COUNTED, "macs": units.NOT_COUNTED, "fid": "none published"}
    missing = by_name.get(name, units.NOT_MEASURED)

    def cell(choice: Candidate) -> str:
        value = choice.value(name)
        return missing if value is None else show(value)

    return cell


_SHOW: Mapping[str, Callable[[Candidate], str]] = {
    "px": lambda choice: choice.px,
    "params": _shows("params", units.short),
    "macs": _shows("macs", units.short),
    "seconds": _time,
    "images": _shows("images", units.rate),
    "memory": _shows("memory", lambda value: units.size(int(value))),
    "mfu": _shows("mfu", lambda value: units.share(value, 1)),
    "fid": _shows("fid", lambda value: f"{value:g}"),
}


def faster(records: Sequence[Raw]) -> str:
    """Which of the models of bench records is the faster and by how much, in a sentence, or that the intervals do not
    tell it; "" where there are no two under the same conditions."""
    found = {record["model"]: record for record in records if record["metrics"].get("seconds")}
    if len(found) < 2 or len({_shared(record) for record in found.values()}) > 1:
        return ""
    ordered = sorted(found.values(), key=lambda record: record["metrics"]["seconds"])
    quickest, *others = ordered
    said = [_slower(other, quickest) for other in others]
    return f"{'; '.join(said)}."


def _slower(record: Raw, quickest: Raw) -> str:
    here, there = reading(record, "seconds"), reading(quickest, "seconds")
    name, other = record["model"], quickest["model"]
    if not here or not there or not here.order(there):
        return f"{name} may or may not be slower than {other}: these intervals do not tell"
    times = here.value / there.value
    said = f"{units.rate(times, 2)} x slower" if times >= 1.1 else f"{units.share(times - 1, 1)} slower"
    ratio = _over(record["metrics"].get("macs"), quickest["metrics"].get("macs"))
    work = "" if ratio is None else f" with {units.rate(ratio, 2)} x the MACs"
    work = " at the same MACs" if ratio is not None and abs(ratio - 1) < _SAME else work
    bounds = [units.rate((here.low or 0) / (there.high or 1), 3), units.rate((here.high or 0) / (there.low or 1), 3)]
    reach = f"{' to '.join(bounds)} x by their 95 % intervals"
    doubt = "; mind what is said of them above" if here.doubtful or there.doubtful else ""
    return f"{name} is {said} than {other}{work} ({reach}{doubt})"


_SAME = 0.03  # by which MACs may differ and be called the same
