"""Tables of what a forward pass costs, from `flops` records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dimbench import units
from dimbench.papers import figures
from dimbench.report.tables import Table
from dimbench.report.trees import tree
from dimbench.report.wording import pixels, shape
from dimbench.results import Record

_FIRST_OUT = ("FLOPs (2 x MACs)", "its rule", "counted by its rule", "calls", "passes", "paper prints")


def summary(records: Sequence[Record]) -> Table:
    """One row per model: the count, the paper's figure, and our count under the paper's rule."""
    rule = records[0].conditions["rule"]
    columns = ["model", "px", f"MACs ({rule})", "FLOPs (2 x MACs)", "paper prints", "its rule", "counted by its rule"]
    whole_image = "steps" in records[0].conditions
    if whole_image:
        columns += ["calls", "passes", "MACs per image"]
    rows = []
    for record in records:
        metrics = record.metrics
        counts = [size(record), *(units.exact(int(metrics[m] or 0)) for m in ("macs", "flops"))]
        claims = record.details["claims"] or [None]
        for claim in claims:
            claimed = ["nothing", "", ""]
            if claim:
                claimed = [_printed(claim["prints"]), claim["rule"], units.giga(claim["macs"])]
            row = [record.model, *counts, *claimed]
            if whole_image:
                many = (units.exact(int(metrics[name] or 0)) for name in ("network_calls", "passes_per_image"))
                row += [*many, units.short(metrics["run_macs"] or 0)]
            rows.append(row)
    return Table(columns, rows, notes=_notes(records), first_out=_FIRST_OUT, said_once=columns[:4])


def _printed(giga: str) -> str:
    """A figure as a paper prints it: "118.64"."""
    figure = figures.read(giga, 10**9)
    return units.Amount(f"{giga} G", float(figure.value)) if figure else f"{giga} G"


def text_encoders(records: Sequence[Record]) -> list[Table]:
    """What the encoders of a text cost, a row each; no table where no network is told a text."""
    rows, uncounted = [], []
    for record in records:
        costs = record.details.get("text_encoders", [])
        uncounted += [record.model] if costs is None else []
        for cost in costs or ():
            numbers = (units.exact(cost[name]) for name in ("tokens", "params", "macs"))
            rows.append((record.model, cost["encoder"], *numbers))
    notes = [f"{name}: text encoders not counted: transformers is not installed." for name in uncounted]
    notes += ["Not in the MACs per image; a guided run encodes a second text, the empty one."] if rows else []
    columns = ("model", "text encoder", "tokens", "parameters", "MACs per text (macs)")
    return [Table(columns, rows, notes=notes)] if rows or notes else []


def size(record: Record) -> str:
    """The resolution, or where there is none what the network was called with; and the frames of a clip."""
    conditions = record.conditions
    said = pixels(conditions) or str(conditions.get("inputs") or "its own")
    return f"{said}, {frames} frames" if (frames := conditions.get("frames")) else said


def _notes(records: Sequence[Record]) -> list[str]:
    said = records[0].details["rule"]
    notes = [f"MACs for one image; rule {records[0].conditions['rule']}: {said['says']} ({said['source']})."]
    for record in records:
        if dead := record.details["dead_macs"]:
            notes.append(
                f"{record.model} dead: {units.short(dead)} MACs the official code spends and no output depends on; "
                "not run here, not in the count."
            )
    notes.append(_of_no_products(records))
    for record in records:
        if missing := record.details["missing"]:
            calls = ", ".join(f"{name} x {times}" for name, (times, _) in missing.items())
            notes.append(f"{record.model} products not counted, for no formula is known: {calls}")
        if _is_bound(record):
            notes.append(
                f"{record.model} counted on shapes, with nothing left out: values decide "
                f"{record.details['decided_by_values']}, and --real with --weights counts what they leave."
            )
        if images := record.details["counted_on"]:
            known = record.conditions.get("weights")
            how = f"the weights {known}" if known else "the weights it is built with"
            notes.append(
                f"{record.model} counted on {images} image{'s' * (images != 1)}, with {how}; others may cost more or "
                "less."
            )
    if "steps" in records[0].conditions:
        notes += [
            f"MACs per image of {record.model}: a run of {record.conditions['sampler']} "
            + ("with nothing left out" if _is_bound(record) else "as it is executed")
            + (
                f", {units.short(record.metrics['decode_macs'] or 0)} of them in the decoder."
                if "decode_macs" in record.metrics
                else "."
            )
            for record in records
        ]
        notes += [
            f"{record.model} with {' and '.join(record.conditions['methods'])}: {record.metrics['share_of_plain']:.3f} "
            "of the multiply-adds of the plain run."
            for record in records
            if record.metrics.get("share_of_plain") is not None
        ]
    return list(dict.fromkeys(notes))


def _is_bound(record: Record) -> bool:
    """Whether a run executes no more than was counted, and perhaps less."""
    return bool(record.details.get("decided_by_values")) and not record.details["counted_on"]


def _of_no_products(records: Sequence[Record]) -> str:
    """What no rule of products counts: of several models by name alone."""
    if len(records) == 1:
        found = ", ".join(_uncounted(name, *entry) for name, entry in records[0].details["uncounted"].items())
        return f"{records[0].model} uncounted (output elements): {found or 'nothing'}"
    names = dict.fromkeys(name for record in records for name in record.details["uncounted"])
    return f"Uncounted: {', '.join(names) or 'nothing'}; for one model alone it is said how many elements each has."


def _uncounted(operator: str, calls: int, elements: int | None) -> str:
    return f"{operator} x {calls}" if elements is None else f"{operator} {units.short(elements)}"


def by_operator(record: Record) -> Table:
    """Calls, multiply-adds and share of each operator."""
    calls: Counter[str] = Counter()
    macs: Counter[str] = Counter()
    for line in record.details["bill"]:
        calls[line["operator"]] += line["count"]
        macs[line["operator"]] += line["macs"]
    total = sum(macs.values())
    rows: list[tuple[str, ...]] = [
        (name, units.exact(calls[name]), units.exact(count), units.exact(2 * count), units.share(count, total))
        for name, count in macs.most_common()
    ]
    for said, operators in ((units.NOT_COUNTED, record.details["missing"]), ("uncounted", record.details["uncounted"])):
        for name, (times, elements) in operators.items():
            if name not in macs:
                rows.append((name, units.exact(times), said, f"{units.short(elements)} elements", ""))
    return Table(("operator", "calls", "MACs", "FLOPs (2 x MACs)", "share"), rows, title=_title(record))


def by_module(record: Record) -> Table:
    """The tree of modules with their shares of the multiply-adds."""
    lines = record.details["bill"]
    rows = [
        (name, many, units.exact(macs), units.exact(2 * macs), share)
        for name, many, macs, share in tree(record.model, [(x["module"], x["operator"], x["macs"]) for x in lines])
    ]
    return Table(("module", "times", "MACs", "FLOPs (2 x MACs)", "share"), rows, title=_title(record))


def check(record: Record) -> Table:
    """Multiply-adds by operator as three counters see them."""
    engines = record.details["check"]
    names = sorted(
        {name for counts in engines.values() for name in counts}, key=lambda n: -engines["dimbench"].get(n, 0)
    )
    rows = []
    for name in [*names, "total"]:
        counts = [sum(c.values()) if name == "total" else c.get(name) for c in engines.values()]
        verdict = "all agree" if len(set(counts)) == 1 else "differ"
        rows.append((name, *("not seen" if count is None else units.exact(count) for count in counts), verdict))
    notes = (
        "fvcore runs with our handles for attention, scan and Haar; it adds 4 per layer-norm element (5 with gain).",
        "torch: FlopCounterMode, halved.",
        *(f"{engine} could not count it: {why}" for engine, why in record.details["failed"].items()),
    )
    return Table(("operator", *engines, "verdict"), rows, title=_title(record), notes=notes)


def _title(record: Record) -> str:
    return f"{record.model} at {shape(record.conditions)}"
