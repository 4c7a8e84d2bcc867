"""Changes as records and as a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dimbench import units
from dimbench.comparing.estimate import Noise
from dimbench.comparing.gates import METRICS, MetricKind, Verdict
from dimbench.comparing.judge import NOISE_FACTOR, Change
from dimbench.quality.protocol import FINDING
from dimbench.report import metrics
from dimbench.report.tables import Table
from dimbench.results import Record


def record(change: Change, **details: Any) -> Record:
    """The change as it is stored: the figure of every round is kept, so that all of it can be computed again."""
    pair = change.pair
    base, new = pair.figures
    numbers = {"base": base, "new": new, "ratio": change.ratio, "low": change.low, "high": change.high}
    if change.between:
        numbers |= dict(zip(("difference_low", "difference_high"), change.between, strict=True))
    samples = {"base": pair.base, "new": pair.new}
    if change.second:
        samples |= {"base_again": change.second.base, "new_again": change.second.new}
    return Record(
        "compare",
        pair.model,
        pair.conditions,
        {**numbers, "margin": change.margin},
        samples={name: [v for v in side if v is not None] for name, side in samples.items()},
        details={
            "metric": pair.metric,
            "verdict": change.verdict.value,
            "confirmed": change.confirmed,
            "reason": change.reason,
            "of": pair.command,
            "rounds": len(pair.base),
            "superiority": change.superiority,
            "differing": pair.differing,
            "base_environment": pair.environments[0],
            "new_environment": pair.environments[1],
            **details,
        },
    )


def table(changes: Sequence[Change], notes: Sequence[str], whole: bool = False) -> Table:
    """One row per metric of each row that was compared, what changed most first, the undecided ones too; reasons and
    conditions stand below, and in one line what is equal, which is a row as well where the table is `whole`."""
    ordered = sorted(zip(_names(changes), changes, strict=True), key=lambda named: _rank(named[1]))
    shown = [(name, change) for name, change in ordered if whole or change.verdict is not Verdict.EQUAL]
    columns = ["compared", "metric", "BASE", "NEW", "change", "95 % interval", "margin", "rounds", "verdict"]
    rows = []
    for name, change in shown:
        pair = change.pair
        figures = (metrics.text(pair.metric, number, full=True) for number in pair.figures)
        confirmed = " (confirmed)" if change.confirmed and pair.kind is MetricKind.NOISY else ""
        rows.append(
            [name, pair.metric, *figures, *_statistics(change), str(len(pair.base)), change.verdict + confirmed]
        )
    names = [name for name, _ in ordered]
    sorted_changes = [change for _, change in ordered]
    mean = ["change: geometric mean of NEW / BASE over the rounds."] if any(change.low for change in changes) else []
    below = [
        *([] if whole else _equal(changes)),
        *mean,
        *_reasons(sorted_changes, names),
        *_shared(changes),
        *_differences(changes),
    ]
    return Table(columns, rows, notes=[*below, *notes], first_out=("rounds", "margin", "95 % interval", "BASE", "NEW"))


def _rank(change: Change) -> tuple[int, float]:
    """What changed before what may have and what is the same, the furthest first."""
    last = [Verdict.UNCLEAR, Verdict.SAME, Verdict.EQUAL]
    place = last.index(change.verdict) + 1 if change.verdict in last else 0
    return place, -abs(math.log(change.ratio)) if change.ratio else -math.inf


def _equal(changes: Sequence[Change]) -> list[str]:
    """ "Equal: 84 of 88 rows, macs of 42 models, params of 42."."""
    found = [change for change in changes if change.verdict is Verdict.EQUAL]
    if not found:
        return []
    by_metric = Counter(change.pair.metric for change in found)
    said = ", ".join(f"{metric} of {many}" for metric, many in by_metric.items())
    return [f"Equal: {len(found)} of {len(changes)} rows ({said})."]


def _names(changes: Sequence[Change]) -> list[str]:
    """What each change is of: the model, the command where several measured the same of it, and the conditions in which
    it differs from other rows of that model."""
    commands: dict[tuple[str, str], set[str]] = {}
    seen: dict[tuple[str, str], dict[str, set[str]]] = {}
    for change in changes:
        commands.setdefault((change.pair.model, change.pair.metric), set()).add(change.pair.command)
        values = seen.setdefault((change.pair.command, change.pair.model), {})
        for name, value in change.pair.conditions.items():
            values.setdefault(name, set()).add(repr(value))
    names = []
    for change in changes:
        values = seen[change.pair.command, change.pair.model]
        varying = [f"{n} {v}" for n, v in change.pair.conditions.items() if len(values[n]) > 1]
        several = len(commands[change.pair.model, change.pair.metric]) > 1
        names.append(", ".join([change.pair.model, *([change.pair.command] if several else []), *varying]))
    return names


def _reasons(changes: Sequence[Change], names: Sequence[str]) -> list[str]:
    """Why a verdict is what it is, with the rows of which that is true."""
    rows: dict[str, list[str]] = {}
    for name, change in zip(names, changes, strict=True):
        if change.reason:
            rows.setdefault(f"{change.verdict}: {change.reason}", []).append(f"{name} {change.pair.metric}")
    return [f"{reason} ({'; '.join(of)})." for reason, of in rows.items()]


def _shared(changes: Sequence[Change]) -> list[str]:
    """The conditions that hold for all rows."""
    first, *others = [change.pair.conditions for change in changes]
    shared = [f"{n} {v}" for n, v in first.items() if v and all(other.get(n) == v for other in others)]
    return [f"Conditions: {', '.join(shared)}."] if shared else []


def margins(changes: Sequence[Change], noise: Mapping[str, Noise]) -> list[str]:
    """Sentences on where the margins come from."""
    said = [f"FIDs of two trainings differ where their interval leaves out 0, and {FINDING}."]
    return [*(said if any(change.between for change in changes) else []), *_of_times(changes, noise)]


def _of_times(changes: Sequence[Change], noise: Mapping[str, Noise]) -> list[str]:
    timed = [change for change in changes if METRICS[change.pair.metric].is_time and change.pair.countable]
    if any(change.noise_margin for change in timed):
        return [
            f"* widened to {NOISE_FACTOR} half-widths of A against A on this machine; same needs the margin asked for."
        ]
    if any(change.pair.conditions.get("device_name") not in noise for change in timed):
        return ["This machine's noise is not known; `dimbench calibrate` measures it, and margins widen to it."]
    return []


def outcome(failed: Sequence[Change], gated: Sequence[str]) -> str:
    """What the exit code says, as a sentence; `gated` are the metrics that it depends on."""
    if not failed:
        return f"No regression of {' or '.join(gated)} was confirmed."
    rows = (f"{change.pair.model} {change.pair.metric} {change.verdict}" for change in failed)
    return f"Exit code 3: {', '.join(rows)}."


def _statistics(change: Change) -> tuple[str, str, str]:
    """Change, interval and margin, in per cent or as a difference."""
    base, new = change.pair.figures
    if base is None or new is None:
        return "unknown", "none", "none"
    if change.pair.kind is MetricKind.QUALITY:
        between = units.between(*change.between, "{:+.3g}".format) if change.between else "none"
        margin = "none" if change.margin is None else units.decimal(change.margin, ".3g")
        return units.decimal(new - base, "+.3g"), between, margin
    if change.pair.kind is MetricKind.EXACT:
        return "none" if base == new else _per_cent(base, new), "exact", "0"
    ratio = "unknown" if change.ratio is None else units.change(change.ratio)
    interval = "none"
    if change.low is not None and change.high is not None:
        said = f"{units.change(change.low).removesuffix(' %')} to {units.change(change.high)}"
        interval = units.Amount(said, None, units.SHARE, (change.low - 1, change.high - 1))
    if change.margin is None:
        return ratio, interval, "none"
    margin = units.share(change.margin, 1)
    return ratio, interval, margin.saying(margin + "*" * change.noise_margin)


def _word(value: Any) -> str:
    return "none" if value is None else str(value)


def _differences(changes: Sequence[Change]) -> list[str]:
    """What else than the code was not equal on both sides."""
    differing: dict[str, None] = {}
    for change in changes:
        base, new = change.pair.environments
        apart = {**change.pair.differing, **{n: (base.get(n), new.get(n)) for n in {**base, **new}}}
        for name, (before, after) in apart.items():
            if before != after:
                differing[f"{name}: {_word(before)} in BASE, {_word(after)} in NEW"] = None
    return [f"Differs: {'; '.join(differing)}."] if differing else []


def _per_cent(base: float, new: float) -> str:
    """ "+150.0 %", and of the least change a digit; the difference where BASE is nothing."""
    if not base:
        return units.decimal(int(new - base), "+,")
    share = 100 * (new - base) / base
    return units.change(new / base) if abs(share) >= 0.05 else units.Amount(f"{share:+.1g} %", share / 100, units.SHARE)
