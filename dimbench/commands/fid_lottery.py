from __future__ import annotations

from typing import Annotated

import typer

from dimbench import verbs
from dimbench.commands import options
from dimbench.commands.emit import emit, output_file


def run(
    name: options.Name,
    steps: options.Steps = 50,
    cfg: options.Cfg = 1.5,
    sampler: options.Sampler = None,
    num_images: Annotated[
        int | None, typer.Option(min=4, help="Images of each draw.", show_default="1000 digits, else 50000")
    ] = None,
    labels: options.Labels = None,
    seed: options.Seed = 0,
    repeats: Annotated[int, typer.Option(min=2, help="Seeds of each choice.")] = 4,
    batch: options.Batch = 125,
    device: options.Device = "cpu",
    dtype: options.DrawDtype = options.Dtype.FP32,
    weights: options.Weights = None,
    autoencoder: options.Autoencoder = None,
    reference: options.Reference = None,
    extractor: options.ExtractorName = None,
    inception: options.Inception = None,
    random_weights: options.RandomWeights = False,
    form: options.Format = options.Form.RICH,
    out: options.Out = None,
) -> None:
    """Measure how far each choice of an evaluation moves FID, KID and IS: labels, ODE or SDE, passes, images, the seed.

    One choice at a time, from the same noise, over several seeds.
    """
    from dimbench.comparing import choices
    from dimbench.quality.evaluating import ToDraw
    from dimbench.report import lottery

    task = verbs.fid_task(
        name, reference=reference, extractor=extractor, inception=inception, repeats=repeats, keep=False,
        num_images=num_images, steps=steps, cfg=cfg, sampler=sampler, labels=labels, seed=seed, batch=batch,
        device=device, weights=weights, autoencoder=autoencoder, random_weights=random_weights, dtype=dtype.value,
    )  # fmt: skip
    assert isinstance(task, ToDraw)
    file = output_file(out)
    records = choices.measure(task)
    emit(records, [lottery.table(records)], file, form)
