from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from dimbench import presets, results
from dimbench.commands import options
from dimbench.commands.emit import show_entries
from dimbench.errors import UsageError
from dimbench.names import is_among
from dimbench.papers import reached
from dimbench.presets import NOT_STATED, Recipe
from dimbench.quality import repeating
from dimbench.report import quality
from dimbench.report.tables import Table


def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names of recipes or how they begin, or wildcards, such as 'dit-xl2-*'.",
            metavar="[NAME...]",
            autocompletion=options.begun_recipe,
            show_default="all",
        ),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            help="Say which of them these records of `fid --recipe` reached.", metavar="RECORDS", show_default="none"
        ),
    ] = None,
    form: options.Format = options.Form.RICH,
) -> None:
    """List the published FIDs that can be repeated: what is claimed, how it was drawn, and what is missing here."""
    known = presets.recipes()
    found: dict[str, Recipe] = {}
    for wanted in names or ["*"]:
        begun = {name: known[name] for name in known if is_among([wanted, f"{wanted}*"], name)}
        if not begun:
            raise UsageError(f"no recipe matches {wanted!r}; see `dimbench recipes`")
        found |= begun
    if check:
        followed = reached.check(found, results.read(check))
        show_entries(
            lambda: [{**asdict(each), "recipe": each.recipe.name, "claimed": each.recipe.fid} for each in followed],
            [quality.reached(followed)],
            form,
        )
        return
    _list(found, form)


def _list(found: Mapping[str, Recipe], form: options.Form) -> None:
    missing = {name: list(repeating.needs(recipe)) for name, recipe in found.items()}
    columns = ("recipe", "FID-50,000", "drawn with", "claimed in", "missing here")
    rows = [(r.name, r.fid, _how(r.sampling), r.source, _said(missing[r.name])) for r in found.values()]
    notes = (
        "Of ImageNet, where the name says nothing else; cfg is the scale of guidance.",
        "`dimbench fid --recipe NAME --plan` says where missing files are to be had.",
    )
    show_entries(
        lambda: [{**_plain(r), "missing": missing[r.name]} for r in found.values()],
        [Table(columns, rows, notes=notes, first_out=("claimed in", "drawn with"))],
        form,
    )


def _said(missing: list[str]) -> str:
    """Without weights, which nobody published, the other files are of no use."""
    return repeating.UNPUBLISHED if repeating.UNPUBLISHED in missing else ", ".join(missing) or "nothing"


def _how(sampling: Any) -> str:
    decoder = sampling.get("autoencoder", f"decoder {NOT_STATED}").removeprefix("sd-vae-") or "pixels"
    return ", ".join([f"{sampling['sampler']} {sampling['steps']}", decoder, *sampling.get("with", ())])


def _plain(recipe: Recipe) -> dict[str, Any]:
    return {**asdict(recipe), "files": [file.file for file in recipe.files]}
