from __future__ import annotations

from typing import Annotated

import typer

from dimbench.commands import options
from dimbench.commands.dialect import Command
from dimbench.commands.emit import emit, output_file
from dimbench.papers import gpu_days
from dimbench.report import training_costs

app = typer.Typer(help="What training costs, counted.", no_args_is_help=True, add_completion=False)


MOST_STEPS = 10**9


@app.callback()
def run() -> None:
    """What training costs, counted."""


@app.command(cls=Command)
def train(
    name: options.Name,
    iterations: Annotated[int, typer.Option(min=1, max=MOST_STEPS, help="Training steps.")],
    batch: Annotated[int, typer.Option(min=1, max=options.MOST_IMAGES, help="Images per step.")] = 256,
    gpu: Annotated[
        str, typer.Option(help=f"Whose ceiling: {', '.join(gpu_days.CEILINGS)}, as its maker names it.")
    ] = "a100-bf16",
    mfu: Annotated[float, typer.Option(min=0.001, max=1, help="Share of the ceiling that is reached.")] = 0.4,
    resolution: options.Resolution = None,
    set_: options.Settings = None,
    inputs: options.Inputs = None,
    form: options.Format = options.Form.RICH,
    out: options.Out = None,
) -> None:
    """Count a training step, with its activations kept or checkpointed, and say what GPU-days many take."""
    from dimbench import presets
    from dimbench.papers import cost_records

    (found,) = options.backbones([presets.one(name)], resolution, set_, inputs, None, None, False, False)
    record = cost_records.of_training(found, iterations, batch, gpu, mfu)
    emit([record], [training_costs.table(record)], output_file(out), form)


@app.command(cls=Command)
def claims(form: options.Format = options.Form.RICH, out: options.Out = None) -> None:
    """Check what sources print of GPU-days, and of what methods save, against counts of the networks they name."""
    from dimbench.papers import cost_records

    records = cost_records.of_claims()
    emit(records, training_costs.claims(records), output_file(out), form)
