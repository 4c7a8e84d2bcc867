from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimbench import presets, units
from dimbench.commands import options
from dimbench.commands.emit import show_entries
from dimbench.counting import kept
from dimbench.counting.summed import Sums
from dimbench.errors import UsageError
from dimbench.presets import Preset
from dimbench.report.tables import Table
from dimbench.weights.catalog import path_of

if TYPE_CHECKING:
    from dimbench.papers.comparable import Comparable

Row = tuple[str, ...]


def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names or wildcards, such as 'dit-*'.",
            metavar="[NAME...]",
            autocompletion=options.begun,
            show_default="all",
        ),
    ] = None,
    family: Annotated[str | None, typer.Option(help="Only this family.", show_default="all")] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="Only what has a FID there, with its latents: imagenet-256, celeba-hq-256, ...",
            metavar="DATA-SIDE",
            show_default="all",
        ),
    ] = None,
    form: options.Format = options.Form.RICH,
) -> None:
    """List the registered models by family: their size, what they cost, whose they are and whether weights exist."""
    found = presets.match(names or ["*"])
    if family is not None:
        families = sorted({preset.family for preset in presets.all_presets().values()})
        if family.lower() not in families:
            raise UsageError(f"unknown family {family!r}; known are {', '.join(families)}")
        found = [preset for preset in found if preset.family == family.lower()]
    if benchmark is not None:
        _compared(found, benchmark, form)
        return
    here = {preset.name: kept.known(preset.name) for preset in found}
    counted = {name: sums or kept.elsewhere(name) for name, sums in here.items()}
    columns = ("family", "name", "variant", "params", "px", "MACs", "paper", "year", "weights")
    notes = ["`dimbench weights list` names the files."]
    if not all(counted.values()):
        notes.append("`dimbench flops NAME` counts what is not counted.")
    if any(sums and not here[name] for name, sums in counted.items()):
        libraries = " and ".join(f"{library} {version}" for library, version in kept.shipped_with().items())
        notes.append(f"Counted with {libraries}; `dimbench flops NAME` counts with what is installed.")
    rows = [_row(preset, _figures(counted[preset.name])) for preset in found]

    def entries() -> list[dict[str, Any]]:
        return [{**asdict(preset), "counted": _figures(counted[preset.name])} for preset in found]

    first_out = ("variant", "year", "paper", "weights")
    show_entries(entries, [Table(columns, rows, notes=notes, first_out=first_out, said_once=("family",))], form)


def _figures(found: Sums | None) -> dict[str, int]:
    return {"params": found.params["params"], "macs": found.macs("macs")} if found else {}


def _shown(counted: dict[str, int]) -> tuple[str, str]:
    """Parameters and multiply-adds."""
    if not counted:
        return units.NOT_COUNTED, units.NOT_COUNTED
    return units.short(counted["params"]), units.short(counted["macs"])


def _compared(found: list[Preset], benchmark: str, form: options.Form) -> None:
    """What has a published FID on a benchmark, by family and latents, each with its best."""
    from dimbench.papers.comparable import comparable

    entries = comparable(found, benchmark)
    columns = ("family", "name", "params", "MACs", "latent", "stride", "normalised", "decoder", "FID", "drawn with")
    notes = (
        "The best FID published there; of other latents, trainings and draws of labels it compares with care only.",
        "`dimbench recipes` lists all of them; `dimbench flops NAME --steps N` counts an image with its decoder.",
    )
    first_out = ("normalised", "stride", "latent", "decoder", "drawn with")
    rows = [_compared_row(entry, int(benchmark.rpartition("-")[2])) for entry in entries]
    table = Table(columns, rows, notes=notes, first_out=first_out, said_once=("family",))
    show_entries(lambda: [asdict(entry) for entry in entries], [table], form)


def _compared_row(entry: Comparable, resolution: int) -> Row:
    preset = presets.find(entry.model)
    return (
        preset.family,
        preset.name,
        *_shown(_figures(kept.known(preset.name, resolution) or kept.elsewhere(preset.name, resolution))),
        " x ".join(map(str, entry.latent)),
        str(entry.stride),
        entry.normalised or "-",
        entry.decoder or "none: pixels",
        entry.fid,
        f"{entry.sampler} {entry.steps}, cfg {entry.cfg:g}",
    )


def _weights(preset: Preset) -> str:
    published = sum(not entry.ships for entry in preset.checkpoints)
    if published:
        return f"{published} published"
    if not preset.checkpoints:
        return "none"
    return "ships" if all(path_of(entry).is_file() for entry in preset.checkpoints) else "extra digits"


def _row(preset: Preset, counted: dict[str, int]) -> Row:
    params, macs = _shown(counted)
    return (
        preset.family,
        preset.name,
        preset.label,
        params,
        str(preset.resolution),
        macs,
        f"arXiv {preset.arxiv}" if preset.arxiv else preset.paper,
        str(preset.year or ""),
        _weights(preset),
    )
