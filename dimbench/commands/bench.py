from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dimbench import image_size
from dimbench.bench import job_shards, parent, running
from dimbench.bench import rows as plan
from dimbench.commands import options
from dimbench.commands.emit import output_file, show
from dimbench.errors import UsageError
from dimbench.report import speed


class Mode(StrEnum):
    INFERENCE = "inference"
    TRAIN = "train"


def run(
    names: options.Names,
    mode: Annotated[
        Mode, typer.Option(help="A network call, or a training step: forward, loss, backward, AdamW.")
    ] = Mode.INFERENCE,
    device: options.Device = "cpu",
    dtype: Annotated[
        options.Dtype, typer.Option(help="Numbers of weights and products; tf32: float32 with products in TF32.")
    ] = options.Dtype.FP32,
    batch: Annotated[
        str, typer.Option(help="Images per call, one or several such as 1,8; best searches the fastest that fits.")
    ] = "1",
    resolution: Annotated[
        str | None,
        typer.Option(help="Sides of the images in pixels, such as 256,512.", show_default="the model's own"),
    ] = None,
    compile_: Annotated[bool, typer.Option("--compile", help="Compile with torch.compile.")] = False,
    cuda_graph: Annotated[
        bool, typer.Option("--cuda-graph", help="Replay the launches of one call; needs a GPU.")
    ] = False,
    kernel: Annotated[
        str | None,
        typer.Option(help="Backend of the operators, such as cpu or triton.", show_default="the best that runs"),
    ] = None,
    threads: options.Threads = None,
    steps: options.TimedSteps = None,
    sampler: options.Sampler = None,
    with_: options.With = None,
    guide: options.Guide = None,
    set_: options.Settings = None,
    inputs: options.Inputs = None,
    process: options.Process = None,
    frames: options.Frames = None,
    fetch: options.Fetch = False,
    cfg: options.Guided = False,
    decode: Annotated[
        bool, typer.Option("--decode", help="With --steps: decode the latents, as the model's autoencoder does.")
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint, as for `sample`; it hardly matters to the time.",
            show_default="those that NAME means, else random",
        ),
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Leave the weights of a folder or hf:owner/name where they are.")
    ] = False,
    shard: options.Shard = "1/1",
    budget: options.BenchBudget = 60.0,
    form: options.Format = options.Form.RICH,
    out: options.Out = None,
) -> None:
    """Time models: median with its interval, images per second, memory, and the distance from the device's limit."""
    chosen = options.chosen(names, set_, fetch, weights=not random_weights)
    if weights and len(chosen) > 1:
        raise UsageError(f"--weights {weights} cannot fit {len(chosen)} models; give one model")
    part = job_shards.parse(shard)
    rows = plan.rows(
        chosen,
        {
            "resolution": image_size.several(resolution, options.MOST_PIXELS) if resolution else [None],
            "batch": plan.whole_numbers("--batch", batch, options.MOST_IMAGES, (plan.BEST,)),
        },
        mode=Mode.TRAIN.value if mode is Mode.TRAIN else "sample" if steps else "inference",
        device=device,
        dtype=dtype.value,
        compile=compile_,
        cuda_graph=cuda_graph,
        kernel=kernel,
        threads=threads,
        steps=steps,
        cfg=cfg,
        sampler=sampler,
        inputs=tuple(inputs or ()),
        process=process,
        methods=options.methods(with_, guide),
        decode=decode,
        weights=str(weights) if weights else None,
        random_weights=random_weights,
        frames=frames,
        budget=budget,
    )
    with parent.ahead():
        running.check(rows)
        file = output_file(out)
        mine = part.rows(rows)
        part.said_if_empty(rows, mine, file)
        ran = running.run(mine, file, **part.note([row.key for row in rows], mine))
    if ran.records:
        show(ran.records, [speed.table(ran.records)], form)
    ran.raise_failures()
