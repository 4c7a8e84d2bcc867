from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from dimbench import results, units, verbs
from dimbench.commands import options
from dimbench.commands.emit import output_file, show
from dimbench.errors import UsageError
from dimbench.report.tables import Table
from dimbench.results import Record
from dimbench.sampling import folder, ranks


def run(
    names: options.Names,
    steps: options.Steps = 250,
    cfg: options.Cfg = 1.0,
    sampler: options.Sampler = None,
    num_images: Annotated[int, typer.Option(min=1, help="Images to draw; a folder takes more later.")] = 64,
    labels: options.Labels = None,
    to: Annotated[
        Path | None,
        typer.Option(
            help="A name in .png for one sheet with all images, or a folder for one file or many.",
            show_default="samples.png in ./results or the user's own folder; there samples/NAME for clips and voxels, "
            "for several models and with --as",
        ),
    ] = None,
    kind: Annotated[
        folder.ImageFormat | None,
        typer.Option(
            "--as",
            help="In a folder: npz (samples.npz, arr_0 as ADM's suite reads it), png (000000.png, ...) or latents.",
            show_default="npz",
        ),
    ] = None,
    seed: options.Seed = 0,
    batch: options.Batch = 64,
    resolution: options.Resolution = None,
    set_: options.Settings = None,
    inputs: options.Inputs = None,
    process: options.Process = None,
    frames: options.Frames = None,
    fetch: options.Fetch = False,
    device: options.Device = "cpu",
    dtype: options.DrawDtype = options.Dtype.FP32,
    compile: options.Compile = False,
    cuda_graph: options.CudaGraph = False,
    with_: options.With = None,
    guide: options.Guide = None,
    weights: options.Weights = None,
    autoencoder: options.Autoencoder = None,
    random_weights: options.RandomWeights = False,
    kernel: options.Kernel = None,
    plan: options.Plan = False,
    for_ranks: options.ForRanks = None,
    shard: options.Shard = "1/1",
    form: options.Format = options.Form.RICH,
    out: options.Out = None,
) -> None:
    """Draw images on one sheet or into a folder, clips and numbers such as voxels into a folder alone; run again after
    an interruption and it goes on.

    Several GPUs or machines share the work: torchrun --nproc-per-node N -m dimbench sample NAME ... --device cuda.
    """
    options.check_ranks(for_ranks, plan)
    file = None if plan else output_file(out)
    found = options.backbones(names, resolution, set_, inputs, process, frames, fetch, not random_weights)
    if weights and len(found) > 1:
        raise UsageError(f"--weights {weights} cannot fit {len(found)} models; give one model")
    if to:
        _check_place(to, kind)
    asked: dict[str, Any] = {
        "form": kind or folder.ImageFormat.NPZ,
        "num_images": num_images,
        "steps": steps,
        "cfg": cfg,
        "sampler": sampler,
        "labels": labels,
        "seed": seed,
        "batch": batch,
        "device": device,
        "weights": weights,
        "autoencoder": autoencoder,
        "random_weights": random_weights,
        "dtype": dtype.value,
        "compile": compile,
        "cuda_graph": cuda_graph,
        "methods": options.methods(with_, guide),
    }
    wanted = list(zip(found, _places([each.name for each in found], to, kind), strict=True))
    mine, note = verbs.sample_shard(wanted, shard, file, **asked)
    records: list[Record] = []
    for backbone, place in map(wanted.__getitem__, mine):
        if file is None:
            if ranks.here().first:
                whose = backbone.name if len(found) > 1 else ""
                options.show_plan(whose, verbs.sample_plan(backbone, place, planned_ranks=for_ranks, **asked))
            continue
        record = verbs.sample(backbone, place, **asked)
        if record:
            record = replace(record, details={**record.details, **note})
        with ranks.here().once(f"record {len(records)}") as first:
            if record and first:
                results.append([record], file)
        records += [record] if record else []
    with ranks.here().once("table") as first:
        if records and first:
            show(records, [_table(records)], form)


def _places(names: list[str], to: Path | None, kind: folder.ImageFormat | None) -> list[Path | None]:
    """Where the images of each go: those of several models, and files that were asked for, into a folder of their
    own."""
    if len(names) == 1 and (to or not kind):
        return [to]
    if to and folder.is_sheet(to):
        raise UsageError(f"--to {to} is one sheet, and {len(names)} models were given; give a folder")
    return [to / folder.file_name(name) if to else folder.usual_folder(name) for name in names]


def _check_place(to: Path, kind: folder.ImageFormat | None) -> None:
    if folder.is_sheet(to):
        if kind:
            raise UsageError(f"--as {kind} makes a folder, and --to {to} names a sheet; give one of them")
    elif to.suffix[1:].isalpha() and not to.is_dir():
        raise UsageError(
            f"--to {to} is neither a PNG nor a folder; give a name that ends in .png, or one without an ending"
        )


def _table(records: Sequence[Record]) -> Table:
    columns = ("model", "images", "sampler", "steps", "network calls per image", "time", "file")
    notes = dict.fromkeys(warning for record in records for warning in record.warnings)
    return Table(columns, [_row(record) for record in records], notes=tuple(notes))


def _row(record: Record) -> tuple[str, ...]:
    calls = record.metrics["network_calls"]
    return (
        record.model,
        str(record.conditions["num_images"]),
        record.conditions["sampler"],
        str(record.conditions["steps"]),
        "none" if calls is None else f"{calls:g}",
        units.duration(record.metrics["seconds"] or 0),
        record.details["file"],
    )
