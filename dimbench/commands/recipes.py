from __future__ import annotations

import json as json_module
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimbench import presets
from dimbench.commands import comparing, decoding, options
from dimbench.errors import UsageError
from dimbench.presets import Recipe, folded
from dimbench.report.tables import Table
from dimbench.weights import catalog

if TYPE_CHECKING:
    from dimbench.commands.drawing import Request

IMAGES = 50_000
UNPUBLISHED = "unpublished weights"


def run(
    pattern: Annotated[str, typer.Argument(help="Name or wildcard of recipes, such as 'dit-xl2-*'.")] = "*",
    json: options.Json = False,
) -> None:
    """List the published FIDs that can be repeated: what is claimed, how it was drawn, and what is missing here."""
    found = [recipe for name, recipe in presets.recipes().items() if fnmatchcase(folded(name), folded(pattern))]
    if not found:
        raise UsageError(f"no recipe matches {pattern!r}; see `dimbench recipes`")
    missing = {recipe.name: list(needs(recipe)) for recipe in found}
    if json:
        typer.echo(json_module.dumps([{**_plain(r), "missing": missing[r.name]} for r in found], indent=2))
        return
    columns = ("recipe", "FID-50,000", "drawn with", "claimed in", "missing here")
    rows = [(r.name, r.fid, _how(r.sampling), r.source, _said(missing[r.name])) for r in found]
    notes = (
        "Of ImageNet, where the name says nothing else; cfg is the scale of guidance.",
        "`dimbench fid --recipe NAME --plan` says where missing files are to be had.",
    )
    Table(columns, rows, notes=notes).show()


def _said(missing: list[str]) -> str:
    """Without weights, which nobody published, the other files are of no use."""
    return UNPUBLISHED if UNPUBLISHED in missing else ", ".join(missing) or "nothing"


def needs(
    recipe: Recipe, request: Request | None = None, reference: Path | None = None, inception: Path | None = None
) -> dict[str, str]:
    """What is missing here to run a recipe, a word for each, and where it is to be had."""
    missing = {}
    places = [catalog.path_of(file) for file in recipe.files] + ([request.weights] if request else [])
    here = any(place is not None and place.is_file() for place in places)
    if not here and not recipe.files:
        missing[UNPUBLISHED] = "--weights FILE: the checkpoint, which nobody published"
    elif not here:
        homes = " or ".join(f"{f.file} from {f.url or f.page or 'an unknown address'}" for f in recipe.files)
        missing["weights"] = f"--weights FILE: the checkpoint, {homes}"
    name = (request and request.autoencoder) or _autoencoder(recipe)
    if not name:
        pass  # pixels
    elif name == recipe.sampling["autoencoder"]:
        missing["autoencoder"] = f"--autoencoder FOLDER: {name}, of which no address is known here"
    elif absent := decoding.missing(name):
        missing["autoencoder"] = absent[0]
    if not (reference or catalog.shared(comparing.statistics_name(recipe.resolution, recipe.data))):
        missing["reference"] = comparing.absent_reference(recipe.resolution, recipe.data)
    if not (inception or catalog.shared("inception")):
        missing["inception"] = comparing.absent_inception()
    return missing


def request(recipe: Recipe, given: Request) -> Request:
    """What has to be drawn: all that decides the images is the recipe's, the place where it happens the user's."""
    here = next((path for file in recipe.files if (path := catalog.path_of(file)).is_file()), None)
    named = catalog.path_of(recipe.files[0]) if recipe.files else None
    return replace(
        given,
        name=recipe.model,
        resolution=recipe.resolution,
        steps=recipe.sampling["steps"],
        cfg=recipe.sampling["cfg"],
        sampler=recipe.sampling["sampler"],
        labels="random",
        weights=given.weights or (None if given.random_weights else here or named),
        autoencoder=given.autoencoder or (None if given.random_weights else _autoencoder(recipe) or None),
    )


def doubts(recipe: Recipe, drawn: Request) -> list[str]:
    """Why a figure does not compare with the recipe's claim."""
    said = []
    if (n := drawn.num_images) != IMAGES:
        said.append(f"The claim is of {IMAGES:,} images and FID falls with their number: {n:,} do not compare.")
    if drawn.autoencoder not in (None, _autoencoder(recipe)):
        said.append(f"The claim is with the autoencoder {_autoencoder(recipe)}, this with {drawn.autoencoder}.")
    return said


def _autoencoder(recipe: Recipe) -> str:
    """What --autoencoder calls it: its own name where no file of it is known, "" where pixels are drawn."""
    name = recipe.sampling["autoencoder"]
    return next((short for short, long in decoding.NAMED.items() if long == name), name)


def _how(sampling: Any) -> str:
    decoder = sampling["autoencoder"].removeprefix("sd-vae-") or "pixels"
    return f"{sampling['sampler']} {sampling['steps']}, {decoder}"


def _plain(recipe: Recipe) -> dict[str, Any]:
    return {**asdict(recipe), "files": [file.file for file in recipe.files]}
