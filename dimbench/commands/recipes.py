from __future__ import annotations

import json as json_module
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimbench import presets
from dimbench.commands import options
from dimbench.errors import UsageError
from dimbench.names import folded
from dimbench.presets import Recipe
from dimbench.quality import repeating
from dimbench.report.tables import Table

if TYPE_CHECKING:
    pass


def run(
    pattern: Annotated[
        str, typer.Argument(help="Name of recipes or how it begins, or a wildcard, such as 'dit-xl2-*'.")
    ] = "*",
    json: options.Json = False,
) -> None:
    """List the published FIDs that can be repeated: what is claimed, how it was drawn, and what is missing here."""
    wanted = folded(pattern)
    found = [r for n, r in presets.recipes().items() if fnmatchcase(folded(n), wanted) or folded(n).startswith(wanted)]
    if not found:
        raise UsageError(f"no recipe matches {pattern!r}; see `dimbench recipes`")
    missing = {recipe.name: list(repeating.needs(recipe)) for recipe in found}
    if json:
        typer.echo(json_module.dumps([{**_plain(r), "missing": missing[r.name]} for r in found], indent=2))
        return
    columns = ("recipe", "FID-50,000", "drawn with", "claimed in", "missing here")
    rows = [(r.name, r.fid, _how(r.sampling), r.source, _said(missing[r.name])) for r in found]
    notes = (
        "Of ImageNet, where the name says nothing else; cfg is the scale of guidance.",
        "`dimbench fid --recipe NAME --plan` says where missing files are to be had.",
    )
    Table(columns, rows, notes=notes, first_out=("claimed in", "drawn with")).show()


def _said(missing: list[str]) -> str:
    """Without weights, which nobody published, the other files are of no use."""
    return repeating.UNPUBLISHED if repeating.UNPUBLISHED in missing else ", ".join(missing) or "nothing"


def _how(sampling: Any) -> str:
    decoder = sampling["autoencoder"].removeprefix("sd-vae-") or "pixels"
    return f"{sampling['sampler']} {sampling['steps']}, {decoder}"


def _plain(recipe: Recipe) -> dict[str, Any]:
    return {**asdict(recipe), "files": [file.file for file in recipe.files]}
