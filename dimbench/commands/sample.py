from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dimbench.commands import drawing, options
from dimbench.commands.emit import emit, output_file
from dimbench.errors import UsageError
from dimbench.report.tables import Table
from dimbench.results import Record


def run(
    name: Annotated[str, typer.Argument(help="A model name, as `dimbench list` shows it.", metavar="NAME")],
    steps: drawing.Steps = 250,
    cfg: drawing.Cfg = 1.0,
    sampler: drawing.Sampler = None,
    num_images: Annotated[int, typer.Option(min=1, help="Images to draw.")] = 64,
    labels: drawing.Labels = None,
    out: Annotated[Path, typer.Option(help="The PNG to write, one sheet with all images.")] = Path("samples.png"),
    seed: drawing.Seed = 0,
    batch: drawing.Batch = 64,
    resolution: options.Resolution = None,
    device: drawing.Device = "cpu",
    weights: drawing.Weights = None,
    autoencoder: drawing.Autoencoder = None,
    random_weights: drawing.RandomWeights = False,
    kernel: options.Kernel = None,
    json: options.Json = False,
) -> None:
    """Draw images on one labelled sheet; run again after an interruption and it goes on."""
    from dimbench.sampling import grid

    if out.suffix.lower() != ".png":
        raise UsageError(f"--out {out} is not a PNG; give a name that ends in .png")
    request = drawing.Request(
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
    )
    drawing.refuse_if_missing(f"drawing with {request.preset.name}", request.missing())
    records = output_file(None)
    ready = drawing.Drawing(request)
    drawn, store = ready.run(out.with_name(f"{out.name}.part"))
    grid.save(grid.sheet(drawn.images, ready.labels, columns=_columns(ready.labels)), out)
    store.remove()
    metrics = {
        "network_calls": drawn.network_calls,
        "seconds": drawn.seconds,
        "images_per_second": drawn.fresh / drawn.seconds,
    }
    conditions = {**ready.conditions, "kernels": drawn.kernels}
    record = Record("sample", ready.preset.name, conditions, metrics, warnings=tuple(ready.warnings))
    row = (
        ready.preset.name,
        str(num_images),
        ready.settings.sampler,
        str(steps),
        "none" if drawn.network_calls is None else str(drawn.network_calls),
        f"{drawn.seconds:.1f}",
        str(out),
    )
    columns = ("model", "images", "sampler", "steps", "network calls per image", "seconds", "file")
    emit([record], [Table(columns, [row], notes=record.warnings)], records, "json" if json else "rich")


def _columns(labels: list[int]) -> int:
    """As many as there are different labels, so that each column holds one class; 8 for one class or very many."""
    classes = len(set(labels))
    return classes if 1 < classes <= 16 else 8
