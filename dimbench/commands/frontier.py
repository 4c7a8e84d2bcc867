from __future__ import annotations

from typing import Annotated

import typer

from dimbench import methods, presets, verbs
from dimbench.commands import options
from dimbench.commands.emit import output_file, show
from dimbench.report import tradeoffs


def run(
    name: options.Name,
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help="A method as `dimbench methods` lists them, or several together with + between; may be given again "
            "for another point.",
            metavar="METHOD[:KEY=VALUE,...][+METHOD...]",
            show_default="all that can wrap the network, at several settings",
        ),
    ] = None,
    steps: options.Steps = 50,
    cfg: options.Cfg = 1.0,
    sampler: options.Sampler = None,
    num_images: Annotated[
        int | None, typer.Option(min=2, help="Images of each condition.", show_default="1000 digits, else 50000")
    ] = None,
    labels: options.Labels = None,
    seed: options.Seed = 0,
    batch: options.Batch = 125,
    resolution: options.Resolution = None,
    set_: options.Settings = None,
    inputs: options.Inputs = None,
    process: options.Process = None,
    fetch: options.Fetch = False,
    device: options.Device = "cpu",
    dtype: options.DrawDtype = options.Dtype.FP32,
    weights: options.Weights = None,
    autoencoder: options.Autoencoder = None,
    reference: options.Reference = None,
    extractor: options.ExtractorName = None,
    inception: options.Inception = None,
    random_weights: options.RandomWeights = False,
    kernel: options.Kernel = None,
    shard: options.Shard = "1/1",
    form: options.Format = options.Form.RICH,
    out: options.Out = None,
) -> None:
    """Weigh methods against each other: what each leaves out, the time it takes, how far images move, and their FID.

    Every condition draws the same noise, in turn; rows that are in the records file are not measured again.
    """
    file = output_file(out)
    asked = (resolution, set_, inputs, process, None, fetch, not random_weights)
    (task,) = options.backbones([presets.one(name)], *asked)
    found = verbs.frontier(
        task, [methods.split(text) for text in with_ or ()], file=file, shard=shard, reference=reference,
        extractor=extractor, inception=inception, num_images=num_images, steps=steps, cfg=cfg, sampler=sampler,
        labels=labels, seed=seed, batch=batch, device=device, weights=weights, autoencoder=autoencoder,
        random_weights=random_weights, dtype=dtype.value,
    )  # fmt: skip
    show(found.records, tradeoffs.tables(found.records), form)
    found.raise_failures()
