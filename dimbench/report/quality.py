"""Tables of image quality, from `fid` records: what was measured under unlike protocols never shares a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dimbench import units
from dimbench.conditions import PROTOCOL
from dimbench.quality.fdr import PRINTED, Averaged
from dimbench.quality.protocol import DISTANCES, METRICS, distance, protocol
from dimbench.report.tables import Table
from dimbench.results import Record
from dimbench.stats import NORMAL

if TYPE_CHECKING:
    from dimbench.papers.reached import Followed

CLAIMS = {"fid": "fid", "sfid": "sfid", "is": "is_mean", "precision": "precision", "recall": "recall"}
# Most extractors have no spatial features, older records no MIND, VGG is seldom at hand, and the last are of an
# autoencoder.
OPTIONAL = {"sfid", "cmmd", "clip_score", "mind", "precision_vgg", "recall_vgg", "psnr", "ssim", "lpips"}


def label(metric: str, conditions: Mapping[str, Any]) -> str:
    """ "fid" -> "FID-50,000", with the number of images it was computed from."""
    return METRICS[metric].format(n=_count(conditions.get("num_images")))


def side_by_side(records: Sequence[Record]) -> Table:
    """One column for each record, so for each protocol and network, one row for each metric; FIDs of unlike numbers of
    images stand in unlike rows. What a paper claims follows its record."""
    columns = [""]
    cells: dict[str, list[str]] = {}
    for record in records:
        _fill(cells, len(columns), _measured(record))
        columns.append(_heading(record, records))
        if claims := record.details.get("claims"):
            _fill(cells, len(columns), _claimed(claims))
            columns.append("claimed")
    rows = [[name, *(row + [""] * len(columns))[: len(columns) - 1]] for name, row in cells.items()]
    return Table(columns, _in_order(rows), notes=notes(records))


def repeated(records: Sequence[Record], summary: Record) -> Table:
    """The records of several seeds, then mean, spread (standard deviation of the sample) and minimum of FID."""
    table = side_by_side(records)
    own = distance(records[0].metrics)
    n = label(own, summary.conditions)
    mean, error = summary.metrics[f"{own}_mean"], summary.metrics.get(f"{own}_error")
    pooled = {n: [_number(summary.metrics[f"{own}_{name}"]) for name in ("mean", "spread", "minimum")]}
    if mean is not None and error is not None:
        pooled[f"{n}, 95 %"] = [_interval(mean, NORMAL * error), "", ""]
    times = len(records)
    rows = [[*row, *pooled.get(str(row[0]), [""] * 3)] for row in table.rows]
    columns = (*table.columns, f"mean of {times}", f"spread of {times}", f"minimum of {times}")
    return Table(columns, rows, notes=table.notes)


def notes(records: Sequence[Record]) -> list[str]:
    """What the figures were compared with, in what their protocols differ, and the warnings."""
    said = [
        f"Compared with {c['reference']}, {_count(c['reference_images'])} images, by the features of {c['extractor']}."
        for c in (record.conditions for record in records)
    ]
    if told := [record for record in records if f"{distance(record.metrics)}_error" in record.metrics]:
        endless = METRICS[distance(told[0].metrics)].format(n="inf")
        said.append(
            "95 % and ±: over draws of as many images against the same reference. "
            f"{endless}: of infinitely many, extrapolated from halves and quarters."
        )
    differing = [n for n in PROTOCOL if len({str(r.conditions.get(n)) for r in records}) > 1]
    if differing == ["seed"]:
        said.append("The protocols differ in their seed alone.")
    elif differing:
        said.append(f"The protocols differ in {', '.join(differing)}: figures of unlike protocols do not compare.")
    said += [warning for record in records for warning in record.warnings]
    return list(dict.fromkeys(said))


def _measured(record: Record) -> dict[str, str]:
    own = distance(record.metrics)
    optional = OPTIONAL | {name for name in DISTANCES if name != own}
    names = [name for name in METRICS if name in record.metrics or name not in optional]
    found: dict[str, str] = {}
    for name in names:
        found[label(name, record.conditions)] = _number(record.metrics.get(name))
        found |= _told(record, own) if name == own else {}
    return {**found, "protocol": protocol(record.conditions)}


def _told(record: Record, own: str) -> dict[str, str]:
    """What so many images can tell of the Frechet distance of that name, with 95 % confidence."""
    found, error, infinity = (record.metrics.get(name) for name in (own, f"{own}_error", f"{own}_infinity"))
    if found is None or error is None or infinity is None:
        return {}
    half, name = NORMAL * error, label(own, record.conditions)
    endless = METRICS[own].format(n="inf")
    return {
        f"{name}, 95 %": _interval(found, half),
        endless: units.Amount(f"{infinity:.4g} ± {half:.2g}", infinity, "", (infinity - half, infinity + half)),
    }


def _interval(middle: float, half: float) -> str:
    return units.between(max(0, middle - half), middle + half, "{:.4g}".format)


def _claimed(claims: Mapping[str, str]) -> dict[str, str]:
    """Published figures are of 50,000 images."""
    return {METRICS[CLAIMS[name]].format(n="50,000"): figure for name, figure in claims.items()}


def _heading(record: Record, among: Sequence[Record]) -> str:
    same = sum(other.model == record.model for other in among) > 1
    return f"{record.model}, seed {record.conditions.get('seed')}" if same else record.model


def _fill(cells: dict[str, list[str]], column: int, figures: Mapping[str, str]) -> None:
    for name, figure in figures.items():
        row = cells.setdefault(name, [])
        row += [""] * (column - 1 - len(row)) + [figure]


def _in_order(rows: list[list[str]]) -> list[list[str]]:
    """FIDs first, the protocol last, whatever record brought a row."""
    order = [name.format(n="") for name in METRICS.values()]
    return sorted(
        rows, key=lambda row: next((k for k, name in enumerate(order) if row[0].startswith(name)), len(order))
    )


def _number(value: float | None) -> str:
    return units.NOT_MEASURED if value is None else units.decimal(value, ".4g")


def _count(n: int | None) -> str:
    return "an unknown number of" if n is None else f"{n:,}"


def reached(followed: Sequence[Followed]) -> Table:
    """Published FIDs beside what followed their recipes."""
    rows = [
        (
            each.recipe.name + (f" ({each.apart})" if each.apart else ""), each.recipe.fid, _number(each.fid),
            units.NOT_MEASURED if each.low is None or each.high is None
            else units.between(each.low, each.high, "{:.4g}".format),
            units.Amount(f"{each.images:,}" + (f" x {each.draws}" if each.draws > 1 else ""), each.images),
            each.verdict + (f": {each.why}" if each.why else ""),
        )
        for each in followed
    ]  # fmt: skip
    notes = (
        "Reached: the whole interval lies no more than 1.3 % above the claim; less is no difference between training "
        "runs (arXiv 2606.20536). The interval is of the draw of the images.",
    )
    return Table(("recipe", "claimed", "FID here", "95 %", "images", "verdict"), rows, notes=notes)


def ratios(found: Sequence[Averaged], held_back: str | None) -> list[Table]:
    """Of each set of images its distances, those of real images, and what the former are of the latter."""
    return [_ratios(each, held_back) for each in found]


def _ratios(found: Averaged, held_back: str | None) -> Table:
    rows = [(each.extractor, *(_number(n) for n in (each.fd, each.held_back, each.fdr))) for each in found.ratios]
    mean = f"FDr over {len(rows)}", "", "", _number(found.fdr)
    notes = [
        f"{found.model}, {_count(found.images)} images. FDr: the mean of FD in units of real images' (2604.28190)."
    ]
    if held_back is None:
        notes.append(
            "Real images: ImageNet's validation set beside the paper's statistics of its training set, as the paper "
            "prints it, of MAE one digit."
        )
    if found.missing:
        notes.append(f"Of the paper's six spaces not here: {', '.join(found.missing)}.")
    if others := [each.extractor for each in found.ratios if each.extractor not in PRINTED]:
        notes.append(f"Not of the paper's six: {', '.join(others)}.")
    return Table(("space", "FD", held_back or "real images", "times"), [*rows, mean], notes=[*notes, *found.warnings])
