"""Through the rows: checks that need torch, and one measurement after the other, each stored as soon as it is there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimbench import results, units
from dimbench.bench import doubts, parent
from dimbench.bench import rows as plan
from dimbench.bench.rows import Row
from dimbench.errors import DimbenchError, UsageError
from dimbench.image_size import Resolution
from dimbench.progress import doing, stepping
from dimbench.results import Record

if TYPE_CHECKING:
    from dimbench.backbone import Backbone


def check(rows: Sequence[Row]) -> None:
    """Raise UsageError for the first row that cannot run here, before any is measured."""
    for row in rows:
        plan.check(row)
    with doing("checking what is to be measured"):
        _check_here(rows)


def _check_here(rows: Sequence[Row]) -> None:
    """That this machine and the models can."""
    from dimbench.bench import subject
    from dimbench.kernels import backends
    from dimbench.sampling import precision

    for place in {row.device for row in rows}:
        precision.check_device(place)
    for kernel in {row.kernel for row in rows}:
        with backends.use(kernel):
            pass
    for row in rows:
        found = subject.found(row)
        if row.mode == "sample":
            subject.check_run(row, found)
        if row.mode == "train" and not found.diffusion:
            raise UsageError(
                f"nothing says what {found.name} was trained on, which --mode train needs; give a preset with "
                "[diffusion], or leave --mode out"
            )
        assert found.state is not None


def device_name(device: str) -> str:
    """What the maker calls it. A GPU is asked by a process of its own, so that this one holds none of its memory."""
    if device == "cpu":
        return str(results.describe_machine()["processor"])
    script = f"import torch; print(torch.cuda.get_device_name({device!r}))"
    return subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()


@dataclass
class Measured:
    """The records of what was measured, and why other rows failed."""

    records: list[Record] = field(default_factory=list)
    failures: list[DimbenchError] = field(default_factory=list)

    def raise_failures(self) -> None:
        """Raise the failures as one error, if there are any."""
        if len(self.failures) == 1:
            raise self.failures[0]
        if self.failures:
            said = "".join(f"\n  {failure}" for failure in self.failures)
            raise DimbenchError(f"{len(self.failures)} rows failed; the others are stored:{said}")


def run(rows: Sequence[Row], file: Path | None, **note: Any) -> Measured:
    """Measure the rows one after the other; each record is stored in `file` as soon as it is there, with `note` in its
    details.

    A row that fails costs only itself. An interruption ends the row's process and keeps what is stored.
    """
    ran = Measured()
    if not rows:
        return ran
    try:
        with stepping("measuring", len(rows)) as progress:
            for done, row in enumerate(rows):
                progress(done, f"{row.title}: starting")
                try:
                    record = parent.measure(row, _follow(progress, done, row))
                except DimbenchError as error:
                    ran.failures.append(error)
                    continue
                ran.records.append(replace(record, details={**record.details, **note}))
                if file:
                    results.append(ran.records[-1:], file)
            progress(len(rows))
    except KeyboardInterrupt:
        kept = f"{len(ran.records)} of {len(rows)} rows are {f'stored in {file}' if file else 'measured'}"
        print(f"dimbench: interrupted; {kept}", file=sys.stderr)
        raise
    return ran


def measured_anew(
    models: Sequence[str], known: Sequence[Any], resolution: Resolution | None, file: Path | None, **row: Any
) -> list[dict[str, Any]]:
    """The records of the models that `known` has none of under the conditions `row` on this device, each measured and
    appended to `file`."""
    from dimbench.bench import sweeps

    axes = {"resolution": [resolution], "batch": [row.pop("batch")]}
    missing = sweeps.missing(plan.rows(models, axes, **row), known, device_name(row["device"]))
    check(missing)
    ran = run(missing, file)
    ran.raise_failures()
    return [record.as_dict() for record in ran.records]


def _follow(progress: Callable[..., None], done: int, row: Row) -> parent.OnProgress:
    def follow(phase: str, seconds: float, median: float) -> None:
        share = min(1.0, seconds / row.budget) if phase == "measuring" else 0.0
        progress(done + share, f"{row.title}: {phase}" + (f", {units.seconds(median)}" if median else ""))

    return follow


def here(row: Row, subject: Backbone, file: Path | None) -> Record:
    """The record of a network in hand, which no other process can have, measured in this one."""
    from dimbench.bench.measuring import Measuring

    events: list[dict[str, Any]] = []
    Measuring(row, lambda event, **parts: events.append({"event": event, **parts}), lambda *_: None, subject).run()
    last = events[-1]
    if last.pop("event") != "done":
        raise DimbenchError(f"{row.title}: {doubts.Doubt(**last['doubt'])}")
    found = [doubts.Doubt(**doubt) for doubt in last.pop("doubts")]
    record = parent.with_doubts(Record("bench", **last), found)
    if file:
        results.append([record], file)
    return record
