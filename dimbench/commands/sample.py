from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dimbench.commands import options
from dimbench.commands.emit import emit, output_file
from dimbench.errors import UsageError
from dimbench.report.tables import Table
from dimbench.results import Record
from dimbench.sampling import drawing, folder
from dimbench.sampling import request as requests

_SHEET = ".png"


def run(
    name: Annotated[str, typer.Argument(help="A model name, as `dimbench list` shows it.", metavar="NAME")],
    steps: options.Steps = 250,
    cfg: options.Cfg = 1.0,
    sampler: options.Sampler = None,
    num_images: Annotated[int, typer.Option(min=1, help="Images to draw; a folder takes more later.")] = 64,
    labels: options.Labels = None,
    out: Annotated[
        Path, typer.Option(help="A name in .png for one sheet with all images, or a folder for one file or many.")
    ] = Path("samples.png"),
    form: Annotated[
        folder.ImageFormat | None,
        typer.Option(
            "--format",
            help="In a folder: npz (samples.npz, arr_0 as ADM's suite reads it), png (000000.png, ...) or latents.",
            show_default="npz",
        ),
    ] = None,
    seed: options.Seed = 0,
    batch: options.Batch = 64,
    resolution: options.Resolution = None,
    device: options.Device = "cpu",
    dtype: options.DrawDtype = options.Dtype.FP32,
    compile: options.Compile = False,
    cuda_graph: options.CudaGraph = False,
    weights: options.Weights = None,
    autoencoder: options.Autoencoder = None,
    random_weights: options.RandomWeights = False,
    kernel: options.Kernel = None,
    json: options.Json = False,
) -> None:
    """Draw images on one sheet or into a folder; run again after any interruption and it goes on.

    Several GPUs or machines share the work: torchrun --nproc-per-node N -m dimbench sample NAME ... --device cuda.
    """
    sheet = out.suffix.lower() == _SHEET
    _check_out(out, form)
    request = requests.Request(
        name,
        num_images,
        steps,
        cfg,
        sampler,
        labels,
        seed,
        batch,
        resolution,
        device,
        weights,
        autoencoder,
        random_weights,
        dtype,
        compile,
        cuda_graph,
        latents=form is folder.ImageFormat.LATENTS,
        extendable=not sheet,
    )
    requests.refuse_if_missing(f"drawing with {request.preset.name}", request.missing(), requests.DRY)
    records = output_file(None)
    filled = _sheet(out, request) if sheet else folder.fill(out, request, form or folder.ImageFormat.NPZ)
    if filled:
        record = _record(filled)
        emit([record], [_table(record, filled)], records, "json" if json else "rich")


def _check_out(out: Path, form: folder.ImageFormat | None) -> None:
    if out.suffix.lower() == _SHEET:
        if form:
            raise UsageError(
                f"--format {form} makes a folder, and --out {out} names a sheet; give a folder or leave out --format"
            )
    elif out.suffix[1:].isalpha() and not out.is_dir():
        raise UsageError(
            f"--out {out} is neither a PNG nor a folder; give a name that ends in .png, or one without an ending"
        )


def _sheet(out: Path, request: requests.Request) -> folder.Filled:
    from dimbench.sampling import grid

    ready = drawing.Drawing(request)
    drawn, store = ready.run(out.with_name(f"{out.name}.part"))
    grid.save(grid.sheet(drawn.images, ready.labels, columns=_columns(ready.labels)), out)
    store.remove()
    return folder.Filled(ready, min(drawn.fresh, request.num_images), drawn.seconds, 1, out)


def _columns(labels: list[int]) -> int:
    """As many as there are different labels, so that each column holds one class; 8 for one class or very many."""
    classes = len(set(labels))
    return classes if 1 < classes <= 16 else 8


def _record(filled: folder.Filled) -> Record:
    ready = filled.ready
    metrics: dict[str, Any] = {
        "network_calls": ready.drawn.network_calls,
        "seconds": filled.seconds,
        "images_per_second": filled.fresh / filled.seconds if filled.fresh else None,
        **ready.decoding_cost,
    }
    conditions = {**ready.conditions, "kernels": ready.drawn.kernels, "batch": ready.batch}
    details = {"processes": filled.processes, "fresh_images": filled.fresh, "autoencoder": ready.request.decoder}
    return Record("sample", ready.preset.name, conditions, metrics, tuple(ready.warnings), details=details)


def _table(record: Record, filled: folder.Filled) -> Table:
    calls = record.metrics["network_calls"]
    row = (
        record.model,
        str(record.conditions["num_images"]),
        record.conditions["sampler"],
        str(record.conditions["steps"]),
        "none" if calls is None else str(calls),
        f"{filled.seconds:.1f}",
        str(filled.file),
    )
    columns = ("model", "images", "sampler", "steps", "network calls per image", "seconds", "file")
    return Table(columns, [row], notes=record.warnings)
