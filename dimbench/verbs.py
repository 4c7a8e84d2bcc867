"""What dimbench does, as functions: they take names, modules or Backbones and return records as commands print them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimbench import presets
from dimbench.errors import UsageError
from dimbench.image_size import Resolution
from dimbench.results import Record

if TYPE_CHECKING:
    from torch import nn

    from dimbench.backbone import Backbone
    from dimbench.presets import Recipe
    from dimbench.quality.evaluating import OnDisk, ToDraw

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
    methods: Sequence[str] = (),
) -> list[Record]:
    """Parameters and multiply-adds of one pass for one sample, on shapes alone; with `steps` of a whole run, too, or
    with `usual` of one as the family's images are usually drawn, by `methods` such as "fora:every=3".

    `what` is whatever backbone.find takes, or a list of it, names with wildcards too; `inputs` what a network of the
    user's own is called with: texts such as "x=3x224x224", or a batch of tensors. `check` counts with torch and fvcore
    as well; `bill` keeps the lines; `real` counts on real tensors, where the cost depends on values. Raises UsageError
    for what cannot be found, NeedsValuesError for what cannot be counted on shapes.
    """
    by_sums = engine == "ours" and not (process or steps or usual or check or bill or real or frames)
    records: list[Record] = []
    for each in _names(what):
        if by_sums and isinstance(each, str) and not len(inputs) and (preset := presets.of(each)):
            from dimbench.counting import kept
            from dimbench.counting.records import check_rule, of_pass

            check_rule(rule, each, preset)  # before the work
            records.append(of_pass(kept.sums(each, resolution, batch), preset, rule))
            continue
        from dimbench.counting.in_hand import counted

        (found,) = _found(each, resolution, inputs, process, frames)
        record = counted(found, batch, rule, engine, check, bill, real)
        if steps is not None or usual:
            from dimbench.sampling.image_cost import image_record, settings_of, usual_settings

            scale = 1.5 if cfg else 1.0  # it does not change the work
            how = (
                usual_settings(found, methods) if steps is None else settings_of(found, sampler, steps, scale, methods)
            )
            record = image_record(record, found, how, rule, batch if real else None)
        records.append(record)
    return records


def parameters(
    name: str,
    inputs: Sequence[str] = (),
    *,
    resolution: Resolution | None = None,
    frames: int | None = None,
    modules: bool = False,
) -> Record:
    """Parameters of what backbone.find takes, of each kind; with `modules` where they are."""
    if not (inputs or frames or modules) and presets.of(name):
        from dimbench.counting import kept
        from dimbench.counting.records import of_parameters

        if found := kept.known(name, resolution):
            return of_parameters(found.model, found.conditions, found.params, found.merged)
    from dimbench.backbone import find
    from dimbench.counting.in_hand import parameters_counted

    return parameters_counted(find(name, resolution, inputs=inputs, frames=frames), modules)


def bench(
    what: Whats,
    inputs: Sequence[str] | Any = (),
    *,
    file: Path | None = None,
    resolution: Resolution | None = None,
    **row: Any,
) -> list[Record]:
    """Seconds of one call, of a training step or of a whole run, memory and rates, each row in a process of its own.

    `row` holds fields of bench.rows.Row, such as batch, dtype, device, steps, budget. A module in hand is measured in
    this process. Records are appended to `file` as they come. DimbenchError where a row fails, after the others.
    """
    from dimbench.bench import running
    from dimbench.bench.rows import Row

    records = []
    for each in _listed(what):
        if isinstance(each, str):
            names = presets.chosen([each])
            rows = [Row(name, resolution, inputs=tuple(inputs), **row) for name in names]
            running.check(rows)
            ran = running.run(rows, file)
            ran.raise_failures()
            records += ran.records
        else:
            (found,) = _found(each, resolution, inputs)
            records.append(running.here(Row(found.name, **row), found, file))
    return records


def sample(
    what: What,
    to: Path | str | None = None,
    inputs: Any = (),
    *,
    form: str = "npz",
    resolution: Resolution | None = None,
    **request: Any,
) -> Record | None:
    """Draw images onto one sheet (`to` ends in .png) or into a folder, as npz, png or latents; goes on after any
    interruption. What is no picture goes into a folder, as npz.

    `request` holds fields of sampling.request.Request, such as num_images, steps, cfg, seed, weights. None in all
    processes of torchrun but the first. DimbenchError where files are missing.
    """
    from dimbench.sampling import folder
    from dimbench.sampling import request as requests

    (backbone,) = _found(what, resolution, inputs)
    to = folder.place_of(backbone, Path(to) if to else None, folder.ImageFormat(form))
    sheet = folder.is_sheet(to)
    latents = form == folder.ImageFormat.LATENTS
    asked = requests.Request(
        backbone=backbone, **{"num_images": 64, "steps": 250, "latents": latents, "extendable": not sheet, **request}
    )
    requests.refuse_if_missing(f"drawing with {backbone.name}", asked.missing(), requests.DRY)
    filled = folder.sheet(to, asked) if sheet else folder.fill(to, asked, folder.ImageFormat(form))
    return filled.record() if filled else None


def fid(what: What | None = None, images: Path | str | None = None, **options: Any) -> list[Record]:
    """FID and what else is measured of images drawn by `what`, or of those in a folder or npz, against real ones.

    `options` are those of `fid_task`. DimbenchError where files are missing.
    """
    task = fid_task(what, images, **options)
    records = task.run().records
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
    repeats: int = 1,
    keep: bool = True,
    num_images: int | None = None,
    device: str = "cpu",
    resolution: Resolution | None = None,
    inputs: Any = (),
    **request: Any,
) -> OnDisk | ToDraw:
    """The work of `fid`, ready to be planned and run. Without a network and images, real digits are looked at.

    `recipe` is the published FID to repeat, `repeats` the sets of images to draw, `keep` whether they lie on disk until
    the end; `request` holds fields of sampling.request.Request, such as steps, cfg, sampler, seed, weights.
    """
    from dimbench.quality import repeating
    from dimbench.quality.evaluating import OnDisk, ToDraw
    from dimbench.quality.networks import SIDE_OF_DIGITS, Networks
    from dimbench.sampling.request import Request

    networks = Networks(extractor, inception, vgg)
    if what is None:
        return OnDisk(Path(images) if images else None, reference, networks, device)
    (backbone,) = _found(what, resolution, inputs)
    settings = {"steps": 250, "batch": 125, **request}
    asked = Request(backbone=backbone, num_images=num_images or 0, device=device, **settings)
    if recipe:
        asked = repeating.request(recipe, asked)
    usual = OF_DIGITS if asked.size == (SIDE_OF_DIGITS,) * 2 else repeating.IMAGES
    asked = replace(asked, num_images=num_images or usual)
    if asked.numbers:
        raise UsageError(f"{backbone.name} draws no pictures, which FID compares; give a model of images")
    return ToDraw(asked, recipe, reference, networks, repeats, keep)


def compare(base: Path | str, new: Path | str, fail_if: Sequence[str] = ("seconds",)) -> list[Record]:
    """What changed between two record files, a record for each metric of each row, as `dimbench compare` judges it."""
    from dimbench.comparing import noise, outcome
    from dimbench.comparing.gates import parse_gate
    from dimbench.report import changes

    rules = outcome.JudgedBy([parse_gate(text) for text in fail_if], noise.known())
    found = outcome.of_files(str(base), str(new), rules)
    return [changes.record(change, sides=found.labels, order=[]) for change in found.changes]


def _listed(what: Whats) -> list[What]:
    return list(what) if isinstance(what, (list, tuple)) else [what]  # type: ignore[list-item]


def _names(what: Whats) -> list[What]:
    """What is meant, wildcards resolved."""
    return [name for each in _listed(what) for name in (presets.chosen([each]) if isinstance(each, str) else [each])]


def _found(
    what: Whats, resolution: Resolution | None, inputs: Any, process: str | None = None, frames: int | None = None
) -> list[Backbone]:
    """The backbones that are meant, wildcards resolved."""
    from dimbench.backbone import find

    return [find(name, resolution, inputs=inputs, process=process, frames=frames) for name in _names(what)]
