from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimbench import presets
from dimbench.commands import comparing, drawing, options, planning, recipes
from dimbench.commands.emit import emit, output_file
from dimbench.errors import UsageError
from dimbench.presets import Recipe
from dimbench.report import quality
from dimbench.report.tables import Table
from dimbench.results import Record
from dimbench.weights import catalog

if TYPE_CHECKING:
    from dimbench.commands.comparing import Comparison
    from dimbench.quality.images import Images
    from dimbench.sampling.shards import Shards

FIXED = ("steps", "cfg", "sampler", "labels", "resolution")  # by a recipe
PUBLISHED, OF_DIGITS = 50_000, 1000  # images


def run(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Option(help="The model that draws the images.", show_default="none")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Images instead: a folder of pictures or an npz (arr_0).", show_default="none")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Repeat a published FID, as `dimbench recipes` lists it.", show_default="none")
    ] = None,
    real: Annotated[
        bool, typer.Option("--real", help="Take real training digits for the images: the floor of the digits' FID.")
    ] = False,
    steps: drawing.Steps = 250,
    cfg: drawing.Cfg = 1.0,
    sampler: drawing.Sampler = None,
    num_images: Annotated[
        int | None, typer.Option(min=2, help="Images to draw.", show_default="1000 digits, else 50000")
    ] = None,
    labels: drawing.Labels = None,
    seed: drawing.Seed = 0,
    repeats: Annotated[
        int, typer.Option(min=1, help="Sets of images, of the seeds from --seed on: mean, spread and minimum of FID.")
    ] = 1,
    batch: drawing.Batch = 125,
    resolution: options.Resolution = None,
    device: drawing.Device = "cpu",
    dtype: drawing.Dtype = drawing.Precision.FP32,
    compile: drawing.Compile = False,
    weights: drawing.Weights = None,
    autoencoder: drawing.Autoencoder = None,
    reference: comparing.Reference = None,
    inception: comparing.Inception = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Keep no image on disk; an interrupted run then begins again.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only print what it would need: files, time, disk.")] = False,
    random_weights: drawing.RandomWeights = False,
    json: options.Json = False,
    out: options.Out = None,
) -> None:
    """Draw or take images and compare them with real ones: FID, sFID, Inception Score, KID, precision and recall."""
    if sum((model is not None, images is not None, recipe is not None, real)) != 1:
        raise UsageError("give one of --model NAME, --images PLACE, --recipe NAME or --real")
    form = "json" if json else "rich"
    if real:
        record = _real_digits()
        emit([record], [quality.side_by_side([record])], output_file(out), form)
        return
    if images is not None:
        from dimbench.quality.images import how_drawn

        given, comparison = _given(images, reference, inception, device)
        said = planning.of_images(given, comparison.reference.images_to_read, comparison.extractor, comparing.AT_ONCE)
        typer.echo(said, err=not plan)
        if not plan:
            file = output_file(out)
            record = _compared(given, images.name, comparison, how_drawn(images))
            emit([record], [quality.side_by_side([record])], file, form)
        return
    repeated = presets.find_recipe(recipe) if recipe else None
    request = drawing.Request(
        name=model or "", num_images=num_images or PUBLISHED, steps=steps, cfg=cfg, sampler=sampler, labels=labels,
        seed=seed, batch=batch, resolution=resolution, device=device, weights=weights, autoencoder=autoencoder,
        random_weights=random_weights, dtype=dtype, compile=compile,
    )  # fmt: skip
    if repeated:
        _refuse_fixed(ctx, repeated)
        request = recipes.request(repeated, request)
    elif num_images is None and _digits(request):
        request = replace(request, num_images=OF_DIGITS)
    task = Task(request, repeated, reference, inception, repeats, keep=not stream)
    if plan:
        typer.echo(task.plan())
        return
    drawing.refuse_if_missing(f"the FID of {request.preset.name}", task.missing)
    file = output_file(out)
    records, tables = task.run()
    emit(records, tables, file, form)
    for store in task.stores:
        store.remove()


def _refuse_fixed(ctx: typer.Context, recipe: Recipe) -> None:
    for name in FIXED:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"--{name} is fixed by the recipe {recipe.name}; leave it out, or give --model instead")


def _digits(request: drawing.Request) -> bool:
    return request.pixels == comparing.SIDE_OF_DIGITS


@dataclass
class Task:
    """Sets of images to be drawn and compared; `stores` keep those of the finished sets until the records are safe."""

    request: drawing.Request
    recipe: Recipe | None
    reference: Path | None
    inception: Path | None
    repeats: int
    keep: bool
    stores: list[Shards] = field(default_factory=list)

    def __post_init__(self) -> None:
        if _digits(self.request) or self.request.random_weights:
            return
        data = self.recipe.data if self.recipe else "ImageNet"
        self.reference = self.reference or catalog.shared(comparing.statistics_name(self.request.pixels, data))
        self.inception = self.inception or catalog.shared("inception")

    @property
    def missing(self) -> list[str]:
        """What has to be fetched first."""
        if self.recipe:
            found = recipes.needs(self.recipe, self.request, self.reference, self.inception)
            return [] if self.request.random_weights else list(found.values())
        missing = self.request.missing()
        if _digits(self.request) or self.request.random_weights:
            return missing
        if self.reference is None:
            missing.append(comparing.absent_reference(self.request.pixels))
        if self.inception is None:
            missing.append(comparing.absent_inception())
        return missing

    def plan(self) -> str:
        """What the task needs; what is here is opened and checked."""
        if not self.missing:
            return self._plan(drawing.Drawing(self.request), self._comparison())
        untrained = replace(self.request, random_weights=True, weights=None, autoencoder=None)
        return self._plan(drawing.Drawing(untrained), None)

    def _plan(self, ready: drawing.Drawing, comparison: Comparison | None) -> str:
        weights = None if self.request.random_weights else self.request.checkpoint
        files = (("weights", weights), ("reference", self.reference), ("inception", self.inception))
        return planning.Plan(
            self.request,
            [(what, path) for what, path in files if path is not None],
            self.missing,
            planning.measured_step(ready, comparison.extractor if comparison else None),
            comparison.reference.images_to_read if comparison else 0,
            self.repeats,
            self.keep,
        ).text()

    def _comparison(self) -> Comparison:
        side = self.request.pixels
        return comparing.Comparison(
            (side, side), self.reference, self.inception, self.request.device, dry=self.request.random_weights
        )

    def run(self) -> tuple[list[Record], list[Table]]:
        """The records of all sets, and what is shown of them."""
        comparison, ready = self._comparison(), drawing.Drawing(self.request)
        typer.echo(self._plan(ready, comparison), err=True)
        if self.keep:
            planning.check_disk(self.repeats * planning.bytes_on_disk(self.request))
        records = []
        for repeat in range(self.repeats):
            request = replace(self.request, seed=self.request.seed + repeat)
            records.append(self._measured(drawing.Drawing(request) if repeat else ready, comparison))
        if self.repeats > 1:
            summary = summarised(records)
            return [*records, summary], [quality.repeated(records, summary)]
        floor = [_real_digits(comparison)] if _digits(self.request) and self.reference is None else []
        return records, [quality.side_by_side([*records, *floor])]

    def _measured(self, ready: drawing.Drawing, comparison: Comparison) -> Record:
        store = ready.store() if self.keep else None
        if store is None:
            evaluation, pixels = comparison.evaluate(ready.stream(), self.request.num_images)
        else:
            with store.claimed():
                evaluation, pixels = comparison.evaluate(ready.stream(store), self.request.num_images)
            self.stores.append(store)
        conditions = {**ready.conditions, "uint8": _uint8_rule(), **comparison.conditions}
        details: dict[str, Any] = {"protocol": quality.protocol(conditions), "pixels_sha256": pixels}
        warnings = [*ready.warnings, *comparison.warnings, *evaluation.warnings]
        if self.recipe:
            claims = {"fid": self.recipe.fid, **self.recipe.also}
            details |= {"recipe": self.recipe.name, "claims": claims, "source": self.recipe.source}
            warnings += recipes.doubts(self.recipe, self.request)
        drawn = ready.drawn
        return Record(
            "fid",
            ready.preset.name,
            {**conditions, "kernels": drawn.kernels},
            {
                **evaluation.metrics,
                "network_calls": drawn.network_calls,
                "seconds": drawn.seconds,
                **ready.decoding_cost,
            },
            details=details,
            warnings=tuple(warnings),
        )


def summarised(records: Sequence[Record]) -> Record:
    """Mean, spread (standard deviation of the sample) and minimum of the FIDs of several seeds, and all metrics raw."""
    first = records[0]
    names = [name for name in quality.METRICS if name in first.metrics]
    raw = {name: [float(record.metrics[name] or 0) for record in records] for name in names}
    fids = raw["fid"]
    seeds = ", ".join(str(record.conditions["seed"]) for record in records)
    conditions = {**first.conditions, "seed": seeds, "repeats": len(records)}
    metrics = {"fid_mean": statistics.mean(fids), "fid_spread": statistics.stdev(fids), "fid_minimum": min(fids)}
    details = {**first.details, "protocol": quality.protocol(conditions)}
    del details["pixels_sha256"]
    return Record("fid", first.model, conditions, metrics, samples=raw, details=details)


def _uint8_rule() -> str:
    from dimbench.data.pixels import UINT8_RULE

    return UINT8_RULE


def _given(place: Path, reference: Path | None, inception: Path | None, device: str) -> tuple[Images, Comparison]:
    """Images that are there already and what they are compared with, both opened."""
    from dimbench.quality.images import open_images

    images = open_images(place)
    height, width = images.size
    if images.size != (comparing.SIDE_OF_DIGITS,) * 2 or inception is not None:
        reference = reference or (catalog.shared(comparing.statistics_name(height)) if height == width else None)
        inception = inception or catalog.shared("inception")
        missing = [] if reference else [comparing.absent_reference(height)]
        missing += [] if inception else [comparing.absent_inception()]
        comparing.refuse_if_missing(f"the FID of {place}", missing)
    return images, comparing.Comparison(images.size, reference, inception, device)


def _real_digits(comparison: Comparison | None = None) -> Record:
    """Real training digits in the place of drawn ones: the lowest FID a model of them can hope for."""
    from dimbench.quality.images import digit_images

    images = digit_images("train")
    return _compared(images, "real digits", comparison or comparing.Comparison(images.size))


def _compared(images: Images, name: str, comparison: Comparison, how: Mapping[str, Any] | None = None) -> Record:
    """The record of images that are there already; `how` they were drawn, where that is known."""
    from dimbench.quality.references import lossy_warning

    drawn = how or {}
    evaluation, pixels = comparison.evaluate(images.batches(comparing.AT_ONCE), images.count, f"features of {name}")
    height, width = images.size
    conditions = {
        **{key: value for key, value in drawn.items() if key in (*quality.PROTOCOL, "weights", "device")},
        "images": name,
        "images_sha256": pixels[:16],
        "resolution": height if height == width else f"{height} x {width}",
        "num_images": images.count,
        "uint8": _uint8_rule() if drawn else "as given",
        **comparison.conditions,
    }
    details = {"protocol": quality.protocol(conditions), "pixels_sha256": pixels}
    warnings = (*lossy_warning(images, "The"), *comparison.warnings, *evaluation.warnings)
    return Record("fid", drawn.get("model", name), conditions, evaluation.metrics, details=details, warnings=warnings)
