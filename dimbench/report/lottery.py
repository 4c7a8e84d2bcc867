"""How far each choice in an evaluation moves its figures, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from dimbench import units
from dimbench.quality.protocol import FRECHET
from dimbench.report.tables import Table
from dimbench.results import Record

_NAMES = {**FRECHET, "kid_mean": "KID", "is_mean": "IS"}


def table(records: Sequence[Record]) -> Table:
    """A row for each choice: figures on the mean of the seeds, and how far they moved with the 95 % interval."""
    first = records[0]
    names = [name for name in _NAMES if name in first.metrics or name not in FRECHET]
    rows = [
        (
            record.conditions["choice"], record.conditions["usual"], record.conditions["instead"],
            *(text for name in names for text in _moved(record, name)),
        )
        for record in records
    ]  # fmt: skip
    said = [_NAMES[name] for name in names]
    columns = ("choice", "usual", "instead", *(text for name in said for text in (name, f"{name} moved by")))
    told = first.conditions
    notes = [
        f"{first.model}: {told['num_images']:,} images of {told['steps']} steps, cfg {told['cfg']:g}, "
        f"{told['sampler']}, by {told['extractor']}; mean of {told['repeats']} seeds from {told['seed']} on.",
        "Moved by: 95 % interval of the mean over seeds, the same noise on both sides. Chance: how far two single "
        "draws lie apart 19 times of 20.",
        *first.details["does_not_apply"],
    ]
    return Table(columns, rows, notes=notes)


def _moved(record: Record, name: str) -> tuple[str, str]:
    figure, low, high = (record.metrics.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    if figure is None or low is None or high is None:
        return units.NOT_MEASURED, units.NOTHING
    return units.decimal(figure, ".4g"), units.between(low, high, "{:+.3g}".format)
