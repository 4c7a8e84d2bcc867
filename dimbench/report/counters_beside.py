"""Other people's counters beside ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dimbench import units
from dimbench.counting.other_counters import ALIKE, ToolCount
from dimbench.report.tables import Table


def table(name: str, found: Sequence[ToolCount], absent: Iterable[str]) -> Table:
    """A row for each counter that was run on the network `name`."""
    rows = [
        (
            each.tool,
            each.version,
            units.NOTHING if each.macs is None else units.giga(each.macs),
            _of_ours(each),
            _missed(each.probes),
        )
        for each in found
    ]
    notes = [f"Ours: {units.exact(found[0].ours)} multiply-adds of {name}." if found else f"None counted {name}."]
    notes.append("They see our module; one that goes by the names of modules may see another's spelling otherwise.")
    notes.append("Of one product of each kind: what share of it the counter gives, where that is not all of it.")
    if missing := ", ".join(absent):
        notes.append(f"Not installed, so not run: {missing}.")
    return Table(("counter", "version", name, "of ours", "of one product of each kind"), rows, notes=notes)


def _of_ours(found: ToolCount) -> str:
    return f"failed: {found.failed}" if found.share is None else units.share(found.share, 1)


def _missed(probes: Mapping[str, float | None]) -> str:
    if all(share is None for share in probes.values()):
        return "every one failed"
    inexact = {kind: share for kind, share in probes.items() if share is None or abs(share - 1) > ALIKE}
    said = (f"{kind} {'failed' if share is None else f'{100 * share:.4g} %'}" for kind, share in inexact.items())
    return ", ".join(said) or "all exact"
