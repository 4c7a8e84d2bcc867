from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dimbench import presets, results, verbs
from dimbench.commands import options
from dimbench.commands.emit import output_file, show
from dimbench.errors import UsageError
from dimbench.presets import Recipe
from dimbench.report import quality
from dimbench.report.tables import Table
from dimbench.sampling import ranks

if TYPE_CHECKING:
    from dimbench.quality.evaluating import Evaluated

FIXED = ("steps", "cfg", "sampler", "labels", "resolution", "extractor", "with_", "guide")  # by a recipe
DRAWING = (
    "steps", "cfg", "sampler", "num_images", "labels", "seed", "repeats", "batch", "resolution", "dtype", "compile",
    "cuda_graph", "weights", "autoencoder", "stream", "random_weights", "kernel",
    "with_", "guide",
)  # fmt: skip


def run(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="The models that draw images, as in `dimbench sample`.",
            metavar="NAME...",
            autocompletion=options.begun,
            show_default="none",
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Images instead: a folder of pictures or an npz (arr_0).", show_default="none")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Repeat a published FID, as `dimbench recipes` lists it, or all that a wildcard matches.",
            autocompletion=options.begun_recipe,
            show_default="none",
        ),
    ] = None,
    real: Annotated[
        bool, typer.Option("--real", help="Take real training digits for the images: the floor of the digits' FID.")
    ] = False,
    steps: options.Steps = 250,
    cfg: options.Cfg = 1.0,
    sampler: options.Sampler = None,
    num_images: Annotated[
        int | None, typer.Option(min=2, help="Images to draw.", show_default="1000 digits, else 50000")
    ] = None,
    labels: options.Labels = None,
    seed: options.Seed = 0,
    repeats: Annotated[
        int, typer.Option(min=1, help="Sets of images, of the seeds from --seed on: mean, spread and minimum of FID.")
    ] = 1,
    batch: options.Batch = 125,
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
    reference: options.Reference = None,
    extractor: options.ExtractorName = None,
    inception: options.Inception = None,
    vgg: options.Vgg = None,
    lpips: options.Lpips = None,
    prompts: options.Prompts = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Keep no image on disk; an interrupted run then begins again.")
    ] = False,
    plan: options.Plan = False,
    for_ranks: options.ForRanks = None,
    shard: options.Shard = "1/1",
    random_weights: options.RandomWeights = False,
    kernel: options.Kernel = None,
    form: options.Format = options.Form.RICH,
    out: options.Out = None,
) -> None:
    """Draw or take images and compare them with real ones: FID, sFID, Inception Score, KID, MIND, precision and recall.

    With --images and --autoencoder: what the autoencoder makes of them, against them: rFID, PSNR, SSIM, LPIPS. Several
    GPUs or machines share the work: torchrun --nproc-per-node N -m dimbench fid ... --device cuda, or srun.
    """
    if sum((bool(names), images is not None, recipe is not None, real)) != 1:
        raise UsageError("give one of NAME, --images PLACE, --recipe NAME or --real")
    drawing = [name for name in DRAWING if not (images and name == "autoencoder")]
    if (images or real) and (meant := options.given(ctx, drawing)):
        raise UsageError(f"--{meant} is for images that are drawn, and these are there already; leave it out")
    if lpips and not (images and autoencoder):
        raise UsageError(f"--lpips {lpips} is for what an autoencoder makes of --images; give both, or leave it out")
    if prompts and (not images or autoencoder):
        raise UsageError(f"--prompts {prompts} is for --images that were drawn from texts; give those, or leave it out")
    options.check_ranks(for_ranks, plan)
    file = None if plan else output_file(out)
    followed = _followed(recipe, ctx) if recipe else []
    asked = (resolution, set_, inputs, process, frames, fetch, not random_weights)
    drawn = options.backbones(names, *asked) if names else [None]
    if followed:
        drawn = [backbone for each in followed for backbone in options.backbones([each.model], *asked)]
    if weights and len(drawn) > 1:
        raise UsageError(f"--weights {weights} cannot fit {len(drawn)} models; give one model")
    tasks = [verbs.fid_task(
        backbone, images, rebuilt_by=autoencoder if images else None, recipe=published, reference=reference,
        extractor=extractor, inception=inception, vgg=vgg, lpips=lpips, prompts=prompts, repeats=repeats,
        keep=not stream, planned_ranks=for_ranks,
        num_images=num_images, steps=steps, cfg=cfg, sampler=sampler, labels=labels, seed=seed, batch=batch,
        device=device, weights=weights, autoencoder=autoencoder, random_weights=random_weights, dtype=dtype.value,
        compile=compile, cuda_graph=cuda_graph, methods=options.methods(with_, guide),
    ) for backbone, published in zip_longest(drawn, followed)]  # fmt: skip
    tasks, note = verbs.fid_shard(tasks, shard, file)
    if file is None:
        for task in tasks if ranks.here().first else ():
            options.show_plan(task.name if len(tasks) > 1 else "", task.plan())
        return
    found = []
    for number, task in enumerate(tasks):
        found.append(task.run().noted(note))
        with ranks.here().once(f"records {number}") as mine:
            if mine:
                results.append(found[-1].records, file)
        task.finish()
    with ranks.here().once("tables") as mine:
        if mine:
            show([record for each in found for record in each.records], _tables(found), form)


def _tables(found: Sequence[Evaluated]) -> list[Table]:
    repeated = [quality.repeated(each.sets, each.together) for each in found if each.together]
    sets = [record for each in found if not each.together for record in each.sets]
    floors = [each.floor for each in found if each.floor][:1]
    return [*repeated, *([quality.side_by_side([*sets, *floors])] if sets else [])]


def _followed(pattern: str, ctx: typer.Context) -> list[Recipe]:
    """The recipes, once it is known that no option contradicts them."""
    recipes = presets.match_recipes(pattern)
    if fixed := options.given(ctx, FIXED):
        raise UsageError(f"--{fixed} is fixed by the recipe {recipes[0].name}; leave it out, or give NAME instead")
    return recipes
