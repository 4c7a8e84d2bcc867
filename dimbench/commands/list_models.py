from __future__ import annotations

import json as json_module
from dataclasses import asdict
from typing import Annotated

import typer

from dimbench import presets, units
from dimbench.commands import options
from dimbench.counting import kept
from dimbench.counting.summed import Sums
from dimbench.errors import UsageError
from dimbench.presets import Preset
from dimbench.report.tables import Table


def run(
    pattern: Annotated[str, typer.Argument(help="Name or wildcard, such as 'dit-*'.")] = "*",
    family: Annotated[str | None, typer.Option(help="Only this family.", show_default="all")] = None,
    json: options.Json = False,
) -> None:
    """List the registered models: their size, what they cost, whose they are and whether weights exist."""
    found = presets.match([pattern])
    if family is not None:
        families = sorted({preset.family for preset in presets.all_presets().values()})
        if family.lower() not in families:
            raise UsageError(f"unknown family {family!r}; known are {', '.join(families)}")
        found = [preset for preset in found if preset.family == family.lower()]
    here = {preset.name: kept.known(preset.name) for preset in found}
    counted = {name: sums or kept.elsewhere(name) for name, sums in here.items()}
    if json:
        entries = [{**asdict(preset), "counted": _figures(counted[preset.name])} for preset in found]
        typer.echo(json_module.dumps(entries, indent=2))
        return
    columns = ("name", "family", "variant", "params", "px", "MACs", "paper", "year", "weights")
    notes = ["`dimbench weights list` names the files."]
    if not all(counted.values()):
        notes.append("`dimbench flops NAME` counts what is not counted.")
    if any(sums and not here[name] for name, sums in counted.items()):
        libraries = " and ".join(f"{library} {version}" for library, version in kept.shipped_with().items())
        notes.append(f"Counted with {libraries}; `dimbench flops NAME` counts with what is installed.")
    Table(columns, [_row(preset, _figures(counted[preset.name])) for preset in found], notes=notes).show()


def _figures(found: Sums | None) -> dict[str, int]:
    return {"params": found.params["params"], "macs": found.macs("macs")} if found else {}


def _weights(preset: Preset) -> str:
    published = sum(not entry.ships for entry in preset.checkpoints)
    return f"{published} published" if published else "ships" if preset.checkpoints else "none"


def _row(preset: Preset, counted: dict[str, int]) -> tuple[str, ...]:
    return (
        preset.name,
        preset.family,
        preset.label,
        units.short(counted["params"]) if counted else "not counted",
        str(preset.resolution),
        units.short(counted["macs"]) if counted else "not counted",
        f"arXiv {preset.arxiv}" if preset.arxiv else preset.paper,
        str(preset.year),
        _weights(preset),
    )
