"""Tables of what training costs and of what sources claim of costs, from `cost` records."""

from __future__ import annotations

from collections.abc import Sequence

from dimbench import units
from dimbench.report.tables import Table
from dimbench.report.wording import shape
from dimbench.results import Record

_KEPT = {
    "none": "all activations kept",
    "reentrant": "blocks checkpointed, reentrant",
    "non-reentrant": "blocks checkpointed, non-reentrant",
}


def table(record: Record) -> Table:
    """A row for each way to keep activations."""
    conditions, metrics = record.conditions, record.metrics
    forward = metrics["forward_macs"] or 1
    rows = []
    for variant, said in _KEPT.items():
        macs, days = metrics.get(f"step_macs_{variant}"), metrics.get(f"gpu_days_{variant}")
        if macs is None or days is None:
            rows.append((said, units.NOT_COUNTED, "", ""))
            continue
        taken = units.decimal(days, ",.1f" if days >= 100 else ".3g")
        rows.append((said, units.short(macs), units.decimal(macs / forward, ".3f"), taken))
    notes = [
        f"{record.model} at {shape(conditions)}: {units.exact(conditions['iterations'])} steps of "
        f"{conditions['batch']} images, at {units.share(conditions['mfu'], 1)} of {conditions['gpu']}'s "
        f"{units.short(conditions['ceiling'])} MACs/s, as its maker names them.",
        f"MACs: forward and backward of the network for {record.details['of']}, by torch's counter, on shapes; "
        "optimiser, autoencoder and the gradients of scans are not in them.",
    ]
    missing = record.details.get("not_counted", {})
    notes += [f"Not counted: {_KEPT[variant]}: {why}." for variant, why in missing.items()]
    return Table((record.model, "MACs per image and step", "of a forward pass", "GPU-days"), rows, notes=notes)


def claims(records: Sequence[Record]) -> list[Table]:
    """Of GPU-days, then of what methods save."""
    days = [record for record in records if "claimed_days" in record.metrics]
    saved = [record for record in records if record not in days]
    return [
        Table(
            ("model", "px", "printed", "steps", "what it needs of the ceiling", "source"),
            [
                (r.model, str(r.conditions["resolution"]), r.details["printed"], r.details["steps"], _needs(r),
                 r.details["source"])
                for r in days
            ],
            notes=("Steps of 256 images: forward and backward by trace; more than 100 % cannot be.",),
            first_out=("source", "steps", "px"),
        ),
        Table(
            ("method", "model", "px", "setting", "printed", "MACs left", "source"),
            [
                (r.details["paper"], r.model, str(r.conditions["resolution"]), r.details["setting"],
                 r.details["printed"], units.decimal(r.metrics["executed_share"] or 0, ".3f"), r.details["source"])
                for r in saved
            ],
            notes=("MACs left: multiply-adds of a whole image as it is executed, by rule macs and without decoding, as "
                   "a share of the plain run's; `dimbench audit` shows them beside what was timed here.",),
            first_out=("source", "setting", "px", "model"),
        ),
    ]  # fmt: skip


def _needs(record: Record) -> str:
    found = {name: share for name, share in record.metrics.items() if name.startswith("needs_")}
    if not found:
        return "not checkable: no iterations are printed"
    return ", ".join(f"{units.share(share or 0, 1)} of {name.removeprefix('needs_')}" for name, share in found.items())
