"""What dimbench does, as functions: they take names, modules or Backbones and return records as commands print them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimbench import presets, results
from dimbench.errors import UsageError
from dimbench.image_size import Resolution
from dimbench.launcher import launch
from dimbench.progress import doing, track
from dimbench.report.notebook import Records
from dimbench.results import Record

if TYPE_CHECKING:
    from torch import nn

    from dimbench.backbone import Backbone
    from dimbench.bench.job_shards import JobShard
    from dimbench.bench.running import Measured
    from dimbench.presets import Recipe
    from dimbench.quality.evaluating import OnDisk, ToDraw
    from dimbench.quality.rebuilding import Rebuilt
    from dimbench.report.choosing import Shortlist
    from dimbench.report.notebook import Picture
    from dimbench.sampling.request import Request

    What = str | nn.Module | Backbone
    Whats = What | Sequence[What]

OF_DIGITS = 1000  # images that fid draws of them where nobody says how many


def count(
    what: Whats,
    inputs: Any = (),
    *,
    resolution: Resolution | None = None,
    frames: int | None = None,
    batch: int = 1,
    rule: str = "macs",
    steps: int | None = None,
    cfg: bool = False,
    sampler: str | None = None,
    usual: bool = False,
    process: str | None = None,
    engine: str = "ours",
    check: bool = False,
    bill: bool = False,
    real: bool = False,
    weights: Path | None = None,
    methods: Sequence[str] = (),
) -> Records:
    """Parameters and multiply-adds of one pass for one sample, on shapes alone; with `steps` of a whole run, too, or
    with `usual` of one as the family's images are usually drawn, by `methods` such as "fora:every=3".

    `what` is whatever backbone.find takes, or a list of it, names with wildcards too; `inputs` what a network of the
    user's own is called with: texts such as "x=3x224x224", or a batch of tensors. `check` counts with torch and fvcore
    as well; `bill` keeps the lines; `real` counts on real tensors, where the cost depends on values, with the initial
    weights or those of the checkpoint `weights`. Raises UsageError for what cannot be found, NeedsValuesError for what
    cannot be counted on shapes.
    """
    if weights and not real:
        raise UsageError(f"--weights {weights} decide no cost that shapes decide; leave them out, or give --real")
    if methods and steps is None and not usual:
        raise UsageError(f"--with {methods[0]} acts from step to step of a sampling run; give the steps with --steps N")
    fill = None
    if weights:
        from dimbench.weights import checkpoints

        fill = partial(checkpoints.fill, source=weights)
    by_sums = engine == "ours" and not (process or steps or usual or check or bill or real or frames)
    records = Records()
    meant = _meant(what)
    for each in track(meant, "counting"):
        given, trained_on = (presets.meant_for(each, told, meant) for told in (inputs, process))
        if by_sums and isinstance(each, str) and not len(given) and (preset := presets.of(each)):
            from dimbench.counting import kept
            from dimbench.counting.records import check_rule, of_pass

            check_rule(rule, each, preset)  # before the work
            records.append(of_pass(kept.sums(each, resolution, batch), preset, rule))
            continue
        from dimbench.counting.in_hand import counted

        found = _found(each, resolution, given, trained_on or None, frames)
        record = counted(found, batch, rule, engine, check, bill, real, fill)
        if steps is not None or usual:
            from dimbench.sampling.image_cost import image_record, settings_of, usual_settings

            scale = 1.5 if cfg else 1.0  # it does not change the work
            how = (
                usual_settings(found, methods) if steps is None else settings_of(found, sampler, steps, scale, methods)
            )
            record = image_record(record, found, how, rule, batch if real else None, fill)
        if weights:
            record = replace(record, conditions={**record.conditions, "weights": checkpoints.fingerprint(weights)})
        records.append(record)
    return records


def parameters(
    what: Whats,
    inputs: Any = (),
    *,
    resolution: Resolution | None = None,
    frames: int | None = None,
    modules: bool = False,
) -> Records:
    """Parameters of whatever `count` takes, of each kind; with `modules` where they are."""
    records, meant = Records(), _meant(what)
    for each in track(meant, "counting"):
        given = presets.meant_for(each, inputs, meant)
        if isinstance(each, str) and not (len(given) or frames or modules) and presets.of(each):
            from dimbench.counting import kept
            from dimbench.counting.records import of_parameters

            if found := kept.parameters(each, resolution):
                records.append(of_parameters(found.model, found.conditions, found.params, found.merged))
                continue
        from dimbench.counting.in_hand import parameters_counted

        records.append(parameters_counted(_found(each, resolution, given, frames=frames), modules))
    return records


def choose(
    what: Whats,
    *,
    inputs: Sequence[str] = (),
    beside: str | None = None,
    benchmark: str | None = None,
    records: Sequence[Path] | None = None,
    resolution: Resolution | None = None,
    measure: bool = False,
    file: Path | None = None,
    budget: float = 60.0,
    **where: Any,
) -> Shortlist:
    """What is known of each of these networks, `beside` one that stands first: counted now, timed in `records` (None:
    the shipped and the user's own), published; with `benchmark`, such as "imagenet-256", those with a FID there alone.
    `inputs` is as `count` takes it.

    Times are of the conditions `where`, of device, dtype and batch, or of those that most records are of; with
    `measure` those that are missing are measured, and appended to `file`.
    """
    from dimbench.papers.frame import known_records
    from dimbench.report.choosing import shortlist

    meant = list(dict.fromkeys([*([presets.one(beside)] if beside else []), *_meant(what)]))
    if benchmark:
        from dimbench.papers.comparable import with_fid

        have = with_fid([each for each in meant if isinstance(each, str)], benchmark)
        meant = [each for each in meant if each in have or (beside and each == meant[0])]
        if not meant:
            raise UsageError(f"none of these models has a published FID on {benchmark}; see `dimbench list --for`")
        resolution = resolution or int(benchmark.rpartition("-")[2])
    asked = {name: value for name, value in where.items() if value is not None}
    counted = [record.as_dict() for record in count(meant, inputs, resolution=resolution)]
    known = known_records(records)
    if measure:
        from dimbench.bench.running import measured_anew

        row = {"device": "cpu", "dtype": "fp32", "batch": 1, **asked}
        names = [each for each in meant if isinstance(each, str)]
        known += measured_anew(names, known, resolution, file, budget=budget, inputs=tuple(inputs), **row)
        asked = {**row, "device": row["device"].partition(":")[0]}
    sides = {} if resolution is None else {"resolution": counted[0]["conditions"]["resolution"]}
    return shortlist(counted, known, benchmark, {**asked, **sides})


def bench(
    what: Whats,
    inputs: Sequence[str] | Any = (),
    *,
    file: Path | None = None,
    resolution: Resolution | None = None,
    process: str | None = None,
    **row: Any,
) -> Records:
    """Seconds of one call, of a training step or of a whole run, memory and rates, each row in a process of its own.

    `process` is as `sample` takes it; `row` holds fields of bench.rows.Row, such as batch, dtype, device, steps,
    budget. A module in hand is measured in this process. Records are appended to `file` as they come. DimbenchError
    where a row fails, after the others.
    """
    from dimbench.bench import running
    from dimbench.bench.rows import Row

    records, meant = Records(), _meant(what)
    for each in meant:
        given, trained_on = (presets.meant_for(each, told, meant) for told in (inputs, process))
        if isinstance(each, str):
            texts = (given,) if isinstance(given, (str, Mapping)) else tuple(given)
            rows = [Row(each, resolution, inputs=texts, process=trained_on, **row)]
            running.check(rows)
            ran = running.run(rows, file)
            ran.raise_failures()
            records += ran.records
        else:
            found = _found(each, resolution, given, trained_on)
            records.append(running.here(Row(found.name, process=trained_on, **row), found, file))
    return records


def sample(
    what: What,
    to: Path | str | None = None,
    inputs: Any = (),
    *,
    form: str = "npz",
    resolution: Resolution | None = None,
    process: str | None = None,
    **request: Any,
) -> Record | None:
    """Draw images onto one sheet (`to` ends in .png) or into a folder, as npz, png or latents; goes on after any
    interruption. What is no picture goes into a folder, as npz.

    `process` is what a network of the user's own was trained on; `request` holds fields of sampling.request.Request,
    such as num_images, steps, cfg, seed, weights. None in all ranks but the first. DimbenchError where files are
    missing.
    """
    from dimbench.sampling import folder
    from dimbench.sampling import request as requests

    place, asked = _to_draw(what, to, inputs, form, resolution, process, request)
    requests.refuse_if_missing(f"drawing with {asked.backbone.name}", asked.missing(), requests.DRY)
    if folder.is_sheet(place):
        return folder.sheet(place, asked).record() if launch().first else None
    filled = folder.fill(place, asked, folder.ImageFormat(form))
    return filled.record() if filled else None


def sample_plan(
    what: What,
    to: Path | str | None = None,
    inputs: Any = (),
    *,
    form: str = "npz",
    resolution: Resolution | None = None,
    process: str | None = None,
    planned_ranks: int | None = None,
    **request: Any,
) -> Iterator[str]:
    """What `sample` with these arguments would need, by `planned_ranks` where others run, part by part: first what is
    known before anything is loaded."""
    from dimbench.quality import plan
    from dimbench.sampling import folder

    place, asked = _to_draw(what, to, inputs, form, resolution, process, request)
    return plan.of_sample(place, asked, folder.ImageFormat(form), planned_ranks)


def sample_shard(
    wanted: Sequence[tuple[What, Path | None]], shard: str, file: Path | None = None, **options: Any
) -> tuple[list[int], dict[str, Any]]:
    """Which of `wanted`, each with the place of its images, are part `shard`, i/n, balanced by what their images
    execute, and what their records say of it; `file` is where those go. `options` are those of `sample`."""
    from dimbench.bench import job_shards
    from dimbench.sampling import drawing

    part = job_shards.parse(shard)
    if part.parts == 1:
        return list(range(len(wanted))), {}
    form = options.pop("form", "npz")
    asked = [_to_draw(what, to, (), form, None, None, options)[1] for what, to in wanted]
    with doing("counting what each executes"):
        costs = [drawing.predicted(each) for each in asked]
    rows = [[[each.backbone.name, each.steps, each.cfg, each.num_images, each.seed]] for each in asked]
    return _shared_out(part, costs, rows, file)


def _to_draw(
    what: What,
    to: Path | str | None,
    inputs: Any,
    form: str,
    resolution: Resolution | None,
    process: str | None,
    request: Mapping[str, Any],
) -> tuple[Path, Request]:
    """Where the images go, and what is asked for."""
    from dimbench.sampling import folder
    from dimbench.sampling import request as requests

    backbone = _found(what, resolution, inputs, process)
    place = folder.place_of(backbone, Path(to) if to else None, folder.ImageFormat(form))
    latents, extendable = form == folder.ImageFormat.LATENTS, not folder.is_sheet(place)
    asked = requests.Request(
        backbone=backbone, **{"num_images": 64, "steps": 250, "latents": latents, "extendable": extendable, **request}
    )
    asked.check_methods(asked.methods)
    return place, asked


def fid(what: Whats | None = None, images: Path | str | None = None, **options: Any) -> Records:
    """FID and what else is measured of images drawn by `what`, or of those in a folder or npz, against real ones.

    `options` are those of `fid_task`. DimbenchError where files are missing.
    """
    from dimbench.sampling import ranks

    records = Records()
    with ranks.joined():
        for each in [None] if what is None else _meant(what):
            task = fid_task(each, images, **options)
            records += task.run().records
            task.finish()
    return records


def fid_task(
    what: What | None = None,
    images: Path | str | None = None,
    *,
    recipe: Recipe | None = None,
    reference: Path | None = None,
    extractor: str | None = None,
    inception: Path | None = None,
    vgg: Path | None = None,
    lpips: Path | None = None,
    prompts: Path | None = None,
    repeats: int = 1,
    keep: bool = True,
    rebuilt_by: str | None = None,
    planned_ranks: int | None = None,
    wanted: Sequence[Sequence[str]] = (),
    num_images: int | None = None,
    device: str = "cpu",
    resolution: Resolution | None = None,
    inputs: Any = (),
    process: str | None = None,
    **request: Any,
) -> OnDisk | Rebuilt | ToDraw:
    """The work of `fid`, ready to be planned and run. Without a network and images, real digits are looked at;
    `rebuilt_by` an autoencoder, what that makes of the images is compared with them.

    `recipe` is the published FID to repeat, `repeats` the sets of images to draw, `keep` whether they lie on disk until
    the end, `planned_ranks` those to plan for where others run, `wanted` sets of methods that they will be drawn by as
    well; `process` is what a network of the user's own was trained on; `request` holds fields of
    sampling.request.Request, such as steps, cfg, sampler, seed, weights.
    """
    from dimbench.quality import repeating
    from dimbench.quality.evaluating import OnDisk, ToDraw
    from dimbench.quality.networks import SIDE_OF_DIGITS, Networks
    from dimbench.sampling import ranks
    from dimbench.sampling.request import Request, draws_pictures

    device = ranks.here().device(device)
    networks = Networks(extractor, inception, vgg, lpips, prompts)
    if rebuilt_by and images:
        from dimbench.quality.rebuilding import Rebuilt

        return Rebuilt(Path(images), rebuilt_by, reference, networks, device, planned_ranks)
    if what is None:
        return OnDisk(Path(images) if images else None, reference, networks, device, planned_ranks)
    backbone = _found(what, resolution, inputs, process)
    settings = {"steps": 250, "batch": 125, **request}
    asked = Request(backbone=backbone, num_images=num_images or 0, device=device, **settings)
    if recipe:
        asked = repeating.request(recipe, asked)
    usual = OF_DIGITS if asked.size == (SIDE_OF_DIGITS,) * 2 else repeating.IMAGES
    asked = replace(asked, num_images=num_images or usual)
    if asked.latents or not draws_pictures(backbone):
        raise UsageError(f"{backbone.name} draws no pictures, which FID compares; give a model of images")
    for texts in (asked.methods, *wanted):
        asked.check_methods(texts)
    return ToDraw(asked, recipe, reference, networks, repeats, keep, planned_ranks=planned_ranks)


def fid_shard(
    tasks: Sequence[OnDisk | Rebuilt | ToDraw], shard: str, file: Path | None = None
) -> tuple[list[OnDisk | Rebuilt | ToDraw], dict[str, Any]]:
    """The tasks of part `shard`, i/n, balanced by what their images execute, and what their records say of it; `file`
    is where those go. UsageError for images that are there already, which are one row."""
    from dimbench.bench import job_shards
    from dimbench.quality.evaluating import ToDraw

    part = job_shards.parse(shard)
    if part.parts == 1:
        return list(tasks), {}
    drawn = [task for task in tasks if isinstance(task, ToDraw)]
    if len(drawn) < len(tasks):
        raise UsageError(f"--shard {shard} shares out models or recipes, and these images are one row; leave it out")
    with doing("counting what each executes"):
        costs = [task.predicted for task in drawn]
    mine, note = _shared_out(part, costs, [task.rows for task in drawn], file)
    return [drawn[number] for number in mine], note


def _shared_out(
    part: JobShard, costs: Sequence[float], rows: Sequence[Sequence[Any]], file: Path | None
) -> tuple[list[int], dict[str, Any]]:
    """The numbers of those that fall to the part, each of which makes some rows, and what their records say of it;
    `file` is where those go."""
    from dimbench.sampling import ranks

    mine = part.numbers(costs)
    whole = [row for each in rows for row in each]
    own = [row for number in mine for row in rows[number]]
    if ranks.here().first:
        part.said_if_empty(whole, own, file)
    return mine, part.note(whole, own)


def frontier(
    what: What, wanted: Sequence[Sequence[str]] = (), *, file: Path, shard: str = "1/1", **options: Any
) -> Measured:
    """What images of `what` cost and how good they are by each of the `wanted` sets of methods, such as
    ["fora:every=3"], beside the plain run; where they are left open, by every method that can wrap it.

    `shard` i/n leaves out all but a part. `options` are those of `fid_task`. Records that are in `file` are not
    measured again, new ones are appended.
    """
    from dimbench.bench import job_shards
    from dimbench.comparing.frontier import Frontier
    from dimbench.quality.evaluating import ToDraw

    part = job_shards.parse(shard)
    task = fid_task(what, wanted=wanted, **options)
    assert isinstance(task, ToDraw)
    return Frontier(task, [tuple(texts) for texts in wanted], part).run(file)


def compare(
    base: Path | str | Sequence[Record], new: Path | str | Sequence[Record], fail_if: Sequence[str] = ("seconds",)
) -> Records:
    """What changed between two record files, or the records that `count`, `bench` or `fid` gave, a record for each
    metric of each row, as `dimbench compare` judges it."""
    from dimbench.comparing import noise, outcome
    from dimbench.comparing.gates import parse_gate
    from dimbench.report import changes

    rules = outcome.JudgedBy([parse_gate(text) for text in fail_if], noise.known())
    (before, base_label), (after, new_label) = _side(base), _side(new)
    found = outcome.of_records(before, after, (base_label, new_label), rules)
    return Records(changes.record(change, sides=found.labels, order=[]) for change in found.changes)


def plot(
    name: str,
    models: Whats = (),
    *,
    resolution: int = 256,
    records: Sequence[Path] | None = None,
    cost: str = "",
    against: str = "fid",
    inputs: Sequence[str] = (),
) -> Picture:
    """The plot that `dimbench plot NAME` draws, for a notebook or to save. UsageError for an unknown one."""
    from tempfile import TemporaryDirectory

    from dimbench import names
    from dimbench.report import gallery
    from dimbench.report.notebook import Picture

    draw = names.find(name, gallery.PLOTS, "plot")
    texts = [each for each in _meant(models) if isinstance(each, str)]
    with TemporaryDirectory() as folder:
        file = Path(folder, "plot.svg")
        draw(gallery.Asked(texts, resolution, records, cost, against, inputs), file, "svg")
        return Picture(file.read_text(encoding="utf-8"))


def _side(given: Path | str | Sequence[Record]) -> tuple[list[dict[str, Any]], str]:
    """The records of a side, and what it is called."""
    if isinstance(given, (str, Path)):
        return results.read(Path(given)), str(given)
    return [record.as_dict() for record in given], f"{len(given)} records"


def _listed(what: Whats) -> list[What]:
    return list(what) if isinstance(what, (list, tuple)) else [what]  # type: ignore[list-item]


def _meant(what: Whats) -> list[What]:
    """One by one, wildcards resolved."""
    return [name for each in _listed(what) for name in (presets.chosen([each]) if isinstance(each, str) else [each])]


def _found(
    what: What, resolution: Resolution | None, inputs: Any, process: str | None = None, frames: int | None = None
) -> Backbone:
    from dimbench.backbone import find

    name = presets.one(what) if isinstance(what, str) else what
    return find(name, resolution, inputs=inputs, process=process, frames=frames)
