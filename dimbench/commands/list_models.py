from __future__ import annotations

import json as json_module
from dataclasses import asdict
from typing import Annotated

import typer

from dimbench import presets, units
from dimbench.commands import options
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
    if json:
        typer.echo(json_module.dumps([asdict(preset) for preset in found], indent=2))
        return
    columns = ("name", "family", "variant", "params", "px", "MACs", "paper", "year", "weights")
    Table(columns, [_row(preset) for preset in found], notes=("`dimbench weights list` names the files.",)).show()


def _weights(preset: Preset) -> str:
    published = sum(not entry.ships for entry in preset.checkpoints)
    return f"{published} published" if published else "ships" if preset.checkpoints else "none"


def _counted(preset: Preset, what: str) -> str:
    return units.short(preset.counted[what]) if what in preset.counted else "not counted"


def _row(preset: Preset) -> tuple[str, ...]:
    return (
        preset.name,
        preset.family,
        preset.label,
        _counted(preset, "params"),
        str(preset.resolution),
        _counted(preset, "macs"),
        f"arXiv {preset.arxiv}" if preset.arxiv else preset.paper,
        str(preset.year),
        _weights(preset),
    )
