from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from dimbench import results, units
from dimbench.commands import options
from dimbench.commands.emit import emit, output_file
from dimbench.errors import UsageError
from dimbench.progress import stepping
from dimbench.report.tables import Table
from dimbench.results import Record

if TYPE_CHECKING:
    from dimbench.bench.ceilings import Ceilings


def run(
    device: options.Device = "cpu",
    threads: options.Threads = None,
    budget: Annotated[float, typer.Option(help="Seconds for each figure at most.")] = 2.0,
    form: options.Format = options.Form.RICH,
    out: options.Out = None,
) -> None:
    """Measure what this machine can do at most: the ceilings that `bench` divides by, kept in the cache."""
    if budget <= 0:
        raise UsageError(f"a budget of {budget:g} seconds leaves no time to measure; give more than 0")
    file = output_file(out)
    import torch

    from dimbench.bench import ceilings, devices, doubts, hardware
    from dimbench.bench.parent import with_doubts
    from dimbench.sampling import precision

    precision.check_device(device)
    if threads:
        torch.set_num_threads(threads)
    before = hardware.host()
    place = devices.find(device, results.describe_machine()["processor"])
    created = datetime.now(UTC).isoformat(timespec="seconds")
    with stepping("measuring", ceilings.steps(place)) as progress:
        found = ceilings.measured(place, budget, created, progress)
        progress(ceilings.steps(place))
    ceilings.store(found)
    record = with_doubts(_record(device, found), doubts.of_host(before, hardware.host(), found.threads or 1))
    emit([record], [_table(found, record)], file, form)


def _record(device: str, found: Ceilings) -> Record:
    return Record(
        "device",
        found.device_name,
        {"device": device.partition(":")[0], "device_name": found.device_name, "threads": found.threads},
        {
            **{f"{dtype}_macs_per_second": rate for dtype, rate in found.macs_per_second.items()},
            "bytes_per_second": found.bytes_per_second,
            "launch_seconds": found.launch_seconds,
        },
        samples=found.samples,
        created=found.created,
    )


def _table(found: Ceilings, record: Record) -> Table:
    bandwidth = found.bytes_per_second
    rows = [
        (
            f"matrix product, {dtype}",
            units.Amount(f"{units.short(rate)} MACs/s", rate, "MACs/s"),
            _ridge(rate / bandwidth),
        )
        for dtype, rate in found.macs_per_second.items()
    ]
    rows.append(("copy, read and written", units.Amount(f"{units.short(bandwidth)}B/s", bandwidth, "B/s"), ""))
    rows.append(("start of an operator", units.seconds(found.launch_seconds), ""))
    threads = f" with {found.threads} thread{'s' if found.threads > 1 else ''}" if found.threads else ""
    notes = (
        f"{found.device_name}{threads}: the best of several sizes, median of each.",
        "ridge: work with fewer MACs per byte of memory traffic is limited by the memory.",
        *record.warnings,
    )
    return Table(("what", "at most", "ridge"), rows, notes=notes)


def _ridge(ridge: float) -> str:
    return units.Amount(f"{ridge:.1f} MACs per byte", ridge, "MACs/B")
