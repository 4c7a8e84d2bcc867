"""The published files: which there are, where they lie here, and how they come."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimbench import hub, paths, units
from dimbench.commands import options
from dimbench.commands.dialect import Command
from dimbench.commands.emit import show_entries, show_rows
from dimbench.errors import DimbenchError, UsageError
from dimbench.files import replacing
from dimbench.names import folded
from dimbench.presets import NOT_STATED, Checkpoint
from dimbench.progress import track, transferring
from dimbench.report.tables import Table
from dimbench.weights import catalog, ledger
from dimbench.weights.catalog import Entry

if TYPE_CHECKING:
    from dimbench.weights.checkpoints import Weights
    from dimbench.weights.recognise import Fit

app = typer.Typer(no_args_is_help=True, add_completion=False)

Wanted = Annotated[
    list[str],
    typer.Argument(
        help="Names or wildcards of models, shared files or files, as `dimbench weights list` shows them; "
        "hf:owner/name or hf:owner/name/folder for a folder of the hub."
    ),
]
Some = Annotated[list[str] | None, typer.Argument(help="Names or wildcards as in `fetch`.", show_default="all")]


class Layout(StrEnum):
    """In whose names and files weights are written."""

    OFFICIAL = "official"
    DIFFUSERS = "diffusers"


_FIRST_OUT = ("layout", "drawn with", "for", "px", "size")  # of `list`
_STATES = {
    "verified": "fetched and verified",
    "fetched": "fetched, not verified",
    "partial": "fetched in part",
    "absent": "absent",
}


@app.callback()
def run() -> None:
    """Published weights and what else drawing and evaluating need."""


@app.command("list", cls=Command)
def list_(
    names: Some = None,
    form: options.Format = options.Form.RICH,
) -> None:
    """List the published files: what for, which FID they must give and how, and whether they are here."""
    found = catalog.match(names or ["*"])
    columns = ("for", "file", "px", "size", "layout", "FID", "drawn with", "here")
    notes = ("FID: what the authors print, of 50,000 images; drawn with: sampler and steps, guidance, autoencoder.",)
    show_entries(
        lambda: [{"model": e.owner, **asdict(e.file), "path": str(e.path), "here": _state(e)} for e in found],
        [Table(columns, [_row(entry) for entry in found], notes=notes, first_out=_FIRST_OUT)],
        form,
    )


@app.command(cls=Command)
def where(names: Some = None, form: options.Format = options.Form.RICH) -> None:
    """Show the folder of the weights and where each file is looked for."""
    found = catalog.match(names or ["*"])
    rows = [(entry.name, str(entry.path), _state(entry)) for entry in found]
    notes = ("$DIMBENCH_CACHE names another place than ~/.cache/dimbench; the weights are in its folder weights/.",)
    if form is options.Form.RICH:
        typer.echo(str(paths.weights_folder()))
    show_rows(Table(("file", "looked for at", "here"), rows, notes=notes), form)


@app.command(cls=Command)
def fetch(
    names: Wanted,
    offline: Annotated[bool, typer.Option("--offline", help="Use no network: say what to copy, from where.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds a server may be silent.")] = 30.0,
    form: options.Format = options.Form.RICH,
) -> None:
    """Download published files; run again after an interruption and it goes on."""
    from dimbench.weights.fetch import fetch as fetch_one

    rows, failures = [], []
    for name in filter(hub.is_name, names):
        if offline:
            raise UsageError(f"{name} is on the hub, and --offline asks nothing; copy its folder and give its path")
        folder = hub.fetch(hub.parse(name))
        rows.append((name, "fetched", "", "", str(folder)))
    for entry in catalog.match([name for name in names if not hub.is_name(name)]):
        try:
            with transferring(entry.name) as on_bytes:
                done = fetch_one(entry, timeout=timeout, offline=offline, on_bytes=on_bytes)
        except DimbenchError as failure:
            failures.append(str(failure))
            continue
        rows.append((entry.name, done, units.size(entry.path.stat().st_size), _fingerprint(entry), str(entry.path)))
    if rows:
        show_rows(Table(("file", "done", "size", "SHA-256", "at"), rows), form)
    if failures:
        raise DimbenchError("\n".join(failures))


@app.command(cls=Command)
def check(names: Some = None, form: options.Format = options.Form.RICH) -> None:
    """Compare the files that are here with the SHA-256 written down when they arrived."""
    present = [entry for entry in catalog.match(names or ["*"]) if entry.path.is_file() and not entry.ships]
    rows, failures = [], []
    for entry in track(present, "checking"):
        try:
            found = "as it arrived" if ledger.recorded(entry.path) else "seen for the first time, now written down"
            sha256 = ledger.check(entry.path, entry.file)
        except DimbenchError as failure:
            failures.append(str(failure))
            continue
        rows.append((entry.name, found, sha256[:16]))
    if rows or form is options.Form.JSON:
        show_rows(Table(("file", "state", "SHA-256"), rows), form)
    elif not failures:
        typer.echo(f"No published file is in {paths.weights_folder()}.")
    if failures:
        raise DimbenchError("\n".join(failures))


@app.command("import", cls=Command)
def import_(
    file: Annotated[Path, typer.Argument(help="A file of weights, an index of several, or a folder with either.")],
    named: Annotated[
        str | None,
        typer.Option("--as", help="The published file it is, as `weights list` names it.", show_default="by its name"),
    ] = None,
    form: options.Format = options.Form.RICH,
) -> None:
    """Say which model, resolution and options a file needs; if it is a published one, copy it to the others."""
    from dimbench.weights import checkpoints, recognise

    weights, fits = recognise.identified(file)
    given = checkpoints.shapes(weights.state)
    fits = _narrowed(fits, weights.trained_as)
    entries = recognise.published(fits, given)
    entry = recognise.chosen(entries, file.name) if named is None else _named(named, given)
    _show(fits, entries, weights, form)
    if weights.files != (file,):
        done = f"{file} is not one file, so nothing was copied; draw with --weights {file}."
    elif entry is not None:
        done = _take(file, entry)
    elif entries:
        names = " or ".join(dict.fromkeys(candidate.name for candidate in entries))
        raise DimbenchError(
            f"{file} was not copied: its shapes are those of {names}, and its name does not say whether it is one; "
            "give --as NAME if it is, else draw with --weights"
        )
    else:
        done = f"No published file has these shapes, so nothing was copied; draw with --weights {file}."
    typer.echo(done, err=form is not options.Form.RICH)


@app.command(cls=Command)
def convert(
    name: Annotated[str, typer.Argument(help="The DiT or Stable Diffusion 1.5 that the weights are of.")],
    file: Annotated[Path, typer.Argument(help="Its weights in any layout.")],
    layout: Annotated[Layout, typer.Option("--as", help="In whose names.")],
    to: Annotated[Path, typer.Option(help="A folder for diffusers, else a .safetensors file.")],
    form: options.Format = options.Form.RICH,
) -> None:
    """Write weights of DiT or Stable Diffusion 1.5 as diffusers or as the authors' code reads them."""
    from dimbench import backbone
    from dimbench.weights.convert import to_diffusers, to_official

    write = to_diffusers if layout is Layout.DIFFUSERS else to_official
    notes = write(backbone.find(name), file, to)
    show_rows(Table(("model", "layout", "at"), [(name, layout.value, str(to))], notes=notes), form)


def _narrowed(fits: list[Fit], trained_as: str) -> list[Fit]:
    """The one fit that the training command named, where it named one of them."""
    named = [fit for fit in fits if folded(trained_as) in (folded(fit.preset.name), folded(fit.preset.label))]
    return named or fits


def _named(name: str, given: Any) -> Entry:
    """The published file `name`, which must have the shapes given."""
    from dimbench.weights import checkpoints, recognise

    found = catalog.match([name])
    if len(found) != 1 or not found[0].checkpoint:
        raise UsageError(f"--as {name!r} names no single file of weights; see `dimbench weights list`")
    if faults := checkpoints.mismatches(recognise.expected(found[0]), given):
        raise DimbenchError(f"the file is not {found[0].name}: {faults}")
    return found[0]


def _take(file: Path, entry: Entry) -> str:
    """Copy the file to its place, write its SHA-256 down, and say where it is."""
    if file.resolve() == entry.path.resolve():
        ledger.check(file, entry.file)
    else:
        copied = entry.path.with_name(f"{entry.path.name}.import")
        with replacing(copied) as temporary:
            shutil.copyfile(file, temporary)
        ledger.settle(copied, entry.path, str(file), entry.file)
    return f"{entry.name} is at {entry.path}, where sample and fid find it."


def _show(fits: Sequence[Fit], entries: Sequence[Entry], weights: Weights, form: options.Form) -> None:
    rows = []
    for fit in fits:
        needs = ", ".join(f"{name} = {value}" for name, value in fit.options.items()) or "none"
        files = ", ".join(entry.name for entry in entries if entry.owner == fit.preset.name) or "none"
        resolution = f"{fit.resolution}{' or any other' if fit.any_resolution else ''}"
        rows.append((fit.preset.name, resolution, str(fit.label_rows or "none"), needs, files))
    notes = list(weights.notes)
    if len(fits) > 1:
        notes.append("These models share keys and shapes: the file alone does not tell which of them it is.")
    columns = ("fits", "px", "label rows", "options", "published files of these shapes")
    about = {"layout": weights.layout, "notes": notes}
    show_entries(
        lambda: [{**dict(zip(columns, row, strict=True)), **about} for row in rows],
        [Table(columns, rows, notes=[f"Layout: {weights.layout}.", *notes])],
        form,
    )


def _row(entry: Entry) -> tuple[str, ...]:
    file = entry.file
    size = entry.path.stat().st_size if entry.path.is_file() else file.size
    source = "" if file.url or file.page or entry.ships else " (address unknown)"
    fid, how, resolution = "", "", ""
    if isinstance(file, Checkpoint):
        fid = f"{file.fid} {file.data}" if file.fid else ""
        how = _how(file)
        resolution = str(file.resolution)
    return (
        entry.owner,
        f"{entry.name}{source}",
        resolution,
        units.size(size) if size else "size unknown",
        file.layout,
        fid,
        how,
        _state(entry),
    )


def _how(checkpoint: Checkpoint) -> str:
    said = checkpoint.sampling
    if not said:
        return ""
    decoder = said.get("autoencoder", f"decoder {NOT_STATED}")
    return f"{said['sampler']} {said['steps']}, cfg {said['cfg']:g}, {decoder}"


def _state(entry: Entry) -> str:
    if entry.ships:
        return "ships" if entry.path.is_file() else catalog.home(entry.file)
    return _STATES[ledger.state(entry.path, entry.file)]


def _fingerprint(entry: Entry) -> str:
    note = None if entry.ships else ledger.recorded(entry.path)
    return note["sha256"][:16] if note else ""
