"""Tables of measured speed, from `bench` records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dimbench import conditions as keys
from dimbench import units
from dimbench.report.choosing import faster
from dimbench.report.tables import Table
from dimbench.report.wording import pixels, shape
from dimbench.results import Record

# Conditions in the order of the table; one that is equal in all rows stands below it instead.
_CONDITIONS = {
    "resolution": "px",
    "batch": "batch",
    "mode": "mode",
    "device_name": "device",
    "dtype": "dtype",
    "compile": "compiled",
    "cuda_graph": "CUDA graph",
    "kernel": "kernel",
    "form": "network",
    "threads": "threads",
    "steps": "steps",
    "sampler": "sampler",
    "guided": "guided",
    "methods": "methods",
    "decoded": "decoded",
    "weights": "weights",
}
_ALWAYS = ("resolution", "batch")  # columns in any case
_SAID_OTHERWISE = ("device", "width")  # by the device's name and beside the resolution
_PASSES = 3  # of a training step, where a record does not say
_TIMED = {"inference": "call", "train": "step", "sample": "run"}
_BEST = {"images/s": "most", "steps/s": "most", "memory": "least", "MFU": "most", "J/image": "least"}
_FIRST_OUT = (
    "first",
    "compiling",
    "p99",
    "p90",
    "of the roof",
    "MACs/s",
    "J/image",
    "IQR",
    "px",
    "parameters",
    "memory",
    "batch",
    "MACs",
)


def table(records: Sequence[Record]) -> Table:
    """One row per record; equal conditions, and what to know of single rows, stand below."""
    known = dict.fromkeys(name for record in records for name in record.conditions if name not in _SAID_OTHERWISE)
    varying = [name for name in {**_CONDITIONS, **known} if name in _ALWAYS or _varies(records, name)]
    figures = _figures(records)
    rows = [
        [record.model, *(_condition(record, name) for name in varying), *(show(record) for show in figures.values())]
        for record in records
    ]
    columns = ["model", *(_CONDITIONS.get(name, name.replace("_", " ")) for name in varying), *figures]
    notes = [
        *_conditions_note(records, varying),
        *_legend(records),
        *_deciding(records),
        *_warnings(records),
        *_upshot(records),
    ]
    best = {name: "least" if name.startswith("time per") else _BEST[name] for name in figures if _is_better(name)}
    return Table(columns, rows, notes=notes, first_out=_FIRST_OUT, best=best)


def _is_better(heading: str) -> bool:
    return heading.startswith("time per") or heading in _BEST


def _upshot(records: Sequence[Record]) -> list[str]:
    """Which is the faster, in a sentence, where that can be said."""
    parts = ("model", "conditions", "metrics", "warnings")
    said = faster([{part: getattr(record, part) for part in parts} for record in records])
    return [said] if said else []


def _varies(records: Sequence[Record], name: str) -> bool:
    """Whether a condition needs a column: its values differ, and not just because the models do."""
    values = {_condition(record, name) for record in records}
    pairs = {(record.model, _condition(record, name)) for record in records}
    by_model = name in keys.OF_MODEL and len(pairs) == len({record.model for record in records})
    return len(values) > 1 and not by_model


def _condition(record: Record, name: str) -> str:
    value, side = record.conditions.get(name), pixels(record.conditions)
    if name == "resolution":
        value = side or record.conditions.get("inputs")
    elif name == "inputs" and side is None:
        value = None  # said in its place
    if value is None:
        return ""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _figures(records: Sequence[Record]) -> dict[str, Callable[[Record], str]]:
    """Heading -> cell; figures that no row has are left out, but for those that every table shows."""
    modes = {record.conditions["mode"] for record in records}
    timed = " or ".join(word for mode, word in _TIMED.items() if mode in modes)
    figures: dict[str, Callable[[Record], str]] = {
        name: _cell(metric, units.short)
        for name, metric in {"parameters": "params", "MACs": "macs"}.items()
        if any(record.metrics.get(metric) is not None for record in records)
    }
    figures |= {f"time per {timed}": _time, "IQR": _spread}
    optional: dict[str, tuple[str, Callable[..., str]]] = {
        "p90": ("seconds_p90", units.seconds),
        "p99": ("seconds_p99", units.seconds),
        "images/s": ("images_per_second", units.rate),
        "decoding/image": ("decode_seconds", units.seconds),
        "steps/s": ("calls_per_second", units.rate),
        "memory": ("peak_bytes", lambda value: units.size(int(value))),
        "MACs/s": ("macs_per_second", units.short),
        "MFU": ("mfu", lambda value: units.share(value, 1)),
        "of the roof": ("roof_share", lambda value: units.share(value, 1)),
        "J/image": ("joules_per_image", units.rate),
        "first": ("first_call_seconds", units.seconds),
        "compiling": ("compile_seconds", units.seconds),
    }
    for heading, (metric, show) in optional.items():
        known = any(record.metrics.get(metric) is not None for record in records)
        says_more = {"steps/s": modes == {"train"}, "of the roof": any(map(_memory_bound, records))}
        if (known or heading == "images/s") and says_more.get(heading, True):
            figures[heading] = _cell(metric, show)
    return figures


def _memory_bound(record: Record) -> bool:
    """Whether its roof is the memory's; else the share of the roof is the MFU."""
    ridge = record.metrics.get("ridge_macs_per_byte")
    return ridge is not None and (record.metrics.get("macs_per_byte") or 0.0) < ridge


def _cell(metric: str, show: Callable[..., str]) -> Callable[[Record], str]:
    def cell(record: Record) -> str:
        value = record.metrics.get(metric)
        if value is None:
            return ""
        return show(value, units.FEW_DIGITS) if show is units.rate and not _has_interval(record) else show(value)

    return cell


def _has_interval(record: Record) -> bool:
    return None not in (record.metrics.get("seconds_low"), record.metrics.get("seconds_high"))


def _time(record: Record) -> str:
    """The median with half the width of its interval, or of how few samples it is."""
    middle, low, high = (record.metrics.get(name) for name in ("seconds", "seconds_low", "seconds_high"))
    if middle is None:
        return units.NOT_MEASURED
    if low is None or high is None:
        few = units.seconds(middle, units.FEW_DIGITS)
        return few.saying(few + units.of_samples(len(record.samples.get("seconds", ()))))
    return with_interval(middle, low, high)


def with_interval(middle: float, low: float, high: float) -> str:
    """ "86.41 ms ± 1.9 %"."""
    said = units.seconds(middle)
    return said.saying(f"{said} ± {units.share((high - low) / 2, middle)}", (low, high))


def _spread(record: Record) -> str:
    middle, iqr = record.metrics.get("seconds"), record.metrics.get("seconds_iqr")
    few = record.metrics.get("seconds_low") is None
    return "" if few or not middle or iqr is None else units.share(iqr, middle)


_SAY: dict[str, Callable[[Any], str]] = {
    "mode": lambda mode: {"train": "training steps", "sample": "sampling runs"}.get(mode, "inference"),
    "device_name": str,
    "dtype": str,
    "threads": lambda n: f"{n} thread{'s' if n > 1 else ''}",
    "compile": lambda _: "compiled",
    "cuda_graph": lambda _: "replayed as a CUDA graph",
    "kernel": lambda kernel: f"kernels {kernel}",
    "form": lambda form: "branches merged for inference" if form == "merged" else "",
    "steps": lambda n: f"{n} steps",
    "sampler": lambda sampler: f"sampler {sampler}",
    "guided": lambda _: "guided",
    "methods": lambda methods: f"with {' and '.join(methods)}",
    "decoded": lambda _: "decoded",
    "weights": lambda w: "random weights, which the time does not depend on" if w == "random" else f"weights {w}",
}


def _conditions_note(records: Sequence[Record], varying: Sequence[str]) -> list[str]:
    """What holds for all rows, and what holds for all rows of a model."""
    names = [name for name in _SAY if name not in varying]
    common = [name for name in names if len({_condition(record, name) for record in records}) == 1]
    notes = [_say(records[0], common)]
    for record in {record.model: record for record in records}.values():
        if said := _say(record, [name for name in names if name not in common]):
            notes.append(f"{record.model}: {said}")
    return notes


def _say(record: Record, names: Sequence[str]) -> str:
    given = {name: record.conditions.get(name) for name in names}
    said = [_SAY[name](value) for name, value in given.items() if value not in (None, False)]
    return f"{'; '.join(filter(None, said))}." if any(said) else ""


def _legend(records: Sequence[Record]) -> list[str]:
    """How to read the figures."""
    measured = [record for record in records if record.metrics.get("seconds") is not None]
    if not measured:
        return []
    notes = [
        "Time: median ± half its 95 % interval; IQR: the middle half of the samples, as a share of the median; first: "
        "the first call."
    ]
    if any(record.conditions["device"] == "cpu" for record in measured):
        notes.append("Memory on a CPU: all that the process held, PyTorch's own some hundred MB among it.")
    peaks = {record.metrics.get("peak_macs_per_second"): record for record in measured}
    if None in peaks:
        notes.append("MFU: not measured without this device's matmul rate; `dimbench device` measures it once.")
    rates = ", ".join(f"{units.short(rate)} MACs/s in {_numbers(r)}" for rate, r in peaks.items() if rate is not None)
    if rates:
        notes.append(f"MFU: share of the matmul rate measured here, {rates}.")
    if any(map(_memory_bound, measured)):
        notes.append("Of the roof: the same share where the memory's bandwidth is the limit and not this rate.")
    passes = {r.details.get("training_passes", _PASSES): r.model for r in measured if r.conditions["mode"] == "train"}
    if passes:
        said = [str(number) if len(passes) == 1 else f"{number} ({model})" for number, model in passes.items()]
        notes.append(f"A training step counts as {' or '.join(said)} forward passes.")
    return notes


def _numbers(record: Record) -> str:
    """In which it multiplies."""
    others = [name.removeprefix("run_macs_") for name in record.metrics if name.startswith("run_macs_")]
    return " and ".join([record.conditions["dtype"], *others]) + (", each at its own rate" if others else "")


def _deciding(records: Sequence[Record]) -> list[str]:
    """What the time of a row went to whose methods convert numbers."""
    return [
        f"{title(record)} with {' and '.join(record.conditions['methods'])}, by torch's profiler: "
        + ", ".join(f"{name} {units.share(share, 1)}" for name, share in found.items())
        + " of its time."
        for record in records
        if (found := record.details.get("operators"))
    ]


def _warnings(records: Sequence[Record]) -> list[str]:
    """Each piece of advice once, below it what was seen of which row; the sentences of older records as they are."""
    about: dict[str, dict[str, list[str]]] = {}
    notes = [f"{title(record)}: {note}" for record in records for note in record.details.get("weights", ())]
    for record in records:
        for doubt in record.details.get("doubts", ()):
            about.setdefault(doubt["advice"], {}).setdefault(title(record), []).append(doubt["seen"])
        if "doubts" not in record.details:
            notes += [f"{title(record)}: {warning}" for warning in record.warnings]
    for advice, rows in about.items():
        notes.append(f"{advice[:1].upper()}{advice[1:]}:")
        notes += [f"  {row}: {'; '.join(seen)}" for row, seen in rows.items()]
    return notes


def title(record: Record) -> str:
    """A row in few words."""
    conditions = record.conditions
    return f"{record.model} {shape(conditions)} batch {conditions['batch']}"
