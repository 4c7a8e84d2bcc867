"""What methods save and what that does to the images, from `frontier` records: a table, and points for a plot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dimbench import conditions as keys
from dimbench import units
from dimbench.quality.protocol import METRICS, protocol
from dimbench.report import speed
from dimbench.report.tables import Table
from dimbench.report.wording import words
from dimbench.results import Record

PLAIN = "plain"
AGAINST = {"fid": "FID (lower is better)", "drift": "drift (relative L2 distance)"}
_OF_METHODS = ("methods", "guide_weights")
_NOT_SAID = (*_OF_METHODS, "device", "kernels", "reference_sha256", "extractor_sha256", "compile", "cuda_graph")


def tables(records: Sequence[Record]) -> list[Table]:
    """The rows of each network under shared conditions, what they leave out by operator below them."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(f"{record.model} {keys.key(record.conditions, _OF_METHODS)}", []).append(record)
    return [table for group in groups.values() for table in (_costs(group), _operators(group), _quality(group))]


@dataclass(frozen=True)
class Tradeoff:
    """A condition's cost and figure. `group` is its method without settings, `label` the first of those; not `sure`
    where its cost means nothing."""

    x: float
    y: float
    group: str
    label: str
    sure: bool


@dataclass(frozen=True)
class Panel:
    """The points of one network under shared `conditions`, the plain run among them."""

    model: str
    conditions: Mapping[str, Any]
    points: Sequence[Tradeoff]


def panels(records: Iterable[Mapping[str, Any]], cost: str, against: str) -> list[Panel]:
    """One for each network: the most rows that share all conditions but their methods; of a row measured again the
    newest. Where the plain run is not among them there is nothing to compare with."""
    groups: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for record in records:
        key = record["model"], keys.key(record["conditions"], _OF_METHODS)
        groups.setdefault(key, {})[_name(record["conditions"])] = record
    found: dict[str, Panel] = {}
    for (model, _), rows in groups.items():
        points = [
            Tradeoff(row["metrics"][cost], row["metrics"][against], *_look(name), sure=not _means_nothing(row))
            for name, row in rows.items()
            if row["metrics"].get(cost) is not None and row["metrics"].get(against) is not None
        ]
        if PLAIN in rows and len(points) > len(found[model].points if model in found else ()):
            found[model] = Panel(model, keys.left(rows[PLAIN]["conditions"]), points)
    return list(found.values())


def shared(conditions: Sequence[Mapping[str, Any]]) -> str:
    """What all panels have in common, as a sentence."""
    varying = keys.varying(conditions)
    return f"{words({name: value for name, value in conditions[0].items() if name not in (*varying, *_NOT_SAID)})}."


def _look(name: str) -> tuple[str, str]:
    """Group and label of a row by its name."""
    heads = [text.partition(":") for text in name.split(" + ")]
    setting = next((rest.split(",")[0].partition("=")[2] for _, _, rest in heads if rest), "")
    return " + ".join(head for head, _, _ in heads), setting


def _means_nothing(row: Mapping[str, Any]) -> bool:
    return any("means nothing" in warning for warning in row.get("warnings", ()))


def _name(conditions: Mapping[str, Any]) -> str:
    return " + ".join(conditions.get("methods", ())) or PLAIN


def methods_of(record: Record) -> str:
    """The methods of a row in short; "plain" for none."""
    return _name(record.conditions)


def _costs(records: Sequence[Record]) -> Table:
    """The share of the multiply-adds that is left, beside the share of the time."""
    columns: dict[str, Callable[[Record], str]] = {
        "MACs": _cell("share_of_plain", partial(units.decimal, form=".3f")),
        "time": _ratio,
        "95 % interval": _interval,
        "MACs/image": _cell("run_macs", units.short),
        "time/image": _time,
        "memory": _cell("peak_bytes", lambda number: units.size(int(number))),
    }
    notes = [
        "MACs and time: as shares of the plain run's, the time beside the plain run of the same round. MACs: as "
        "executed, rule macs. Time/image: median ± half its 95 % interval, two digits without.",
        *_once(f"{methods_of(r)}: MACs counted on {r.details['counted_on']} images, for they depend on values."
               for r in records if r.details.get("counted_on")),
    ]  # fmt: skip
    if records[0].conditions.get("device") == "cpu":
        notes.append("Memory on a CPU: all that the process held at most, PyTorch's own among it.")
    return _table(records, columns, notes)


def _quality(records: Sequence[Record]) -> Table:
    """What became of the images."""
    columns: dict[str, Callable[[Record], str]] = {
        METRICS["fid"].format(n=units.exact(records[0].conditions["num_images"])): _cell(
            "fid", partial(units.decimal, form=".4g")
        ),
        "KID": _cell("kid_mean", partial(units.decimal, form=".4g")),
        "drift": _cell("drift", partial(units.decimal, form=".3f")),
        "PSNR": _cell("psnr", partial(units.decimal, form=".1f")),
        "labels": _cell("changed_labels", lambda share: units.share(share, 1)),
    }
    shared = {name: value for name, value in records[0].conditions.items() if name not in _NOT_SAID}
    plain = protocol({name: value for name, value in records[0].conditions.items() if name not in _OF_METHODS})
    notes = [
        "Drift: relative L2 distance of the samples from the plain run's of the same noise; PSNR of the images, in dB; "
        "labels: images that the digits classifier calls otherwise.",
        f"{words(shared)}.",
        f"Protocol {plain}, and of the other rows with their methods besides.",
        *_once(warning for record in records for warning in record.warnings),
    ]
    return _table(records, columns, notes)


def _table(records: Sequence[Record], columns: Mapping[str, Callable[[Record], str]], notes: Sequence[str]) -> Table:
    """Columns that no row has a figure for are left out."""
    shown = {name: show for name, show in columns.items() if any(show(record) for record in records)}
    rows = [[methods_of(record), *(show(record) for show in shown.values())] for record in records]
    return Table([records[0].model, *shown], rows, notes=notes)


def _once(notes: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(notes))


def _cell(metric: str, show: Callable[[Any], str]) -> Callable[[Record], str]:
    def cell(record: Record) -> str:
        value = record.metrics.get(metric)
        return "" if value is None else show(value)

    return cell


def _time(record: Record) -> str:
    middle, low, high = (record.metrics.get(f"seconds{end}") for end in ("", "_low", "_high"))
    if not middle:
        return units.NOT_MEASURED
    if low is None or high is None:
        return units.seconds(middle, units.FEW_DIGITS)
    return speed.with_interval(middle, low, high)


def _ratio(record: Record) -> str:
    """Of a run that only stands for another's values it says nothing."""
    if _means_nothing(record.as_dict()):
        return "nothing"
    return _cell("time_of_plain", partial(units.decimal, form=".3f"))(record)


def _interval(record: Record) -> str:
    low, high = (record.metrics.get(f"time_of_plain{end}") for end in ("_low", "_high"))
    return "" if low is None or high is None else units.between(low, high, "{:.3f}".format, "-")


def _operators(records: Sequence[Record]) -> Table:
    """The share of the plain run's multiply-adds that each operator still has."""
    names = dict.fromkeys(name for record in records for name in record.details["macs_by_operator"])
    rows = []
    for record in records:
        found = record.details["macs_by_operator"]
        rows.append([methods_of(record), *(_share(found.get(name)) for name in names)])
    notes = ("By operator: multiply-adds as a share of the plain run's.",)
    return Table([records[0].model, *(name.replace("_", " ") for name in names)], rows, notes=notes)


def _share(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    return "new" if found["of_plain"] is None else units.decimal(found["of_plain"], ".3f")
