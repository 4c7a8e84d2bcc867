from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from dimbench import paths, presets, results, units
from dimbench.commands import options
from dimbench.commands.emit import emit, output_file
from dimbench.comparing import checkouts, noise
from dimbench.comparing.checkouts import Side
from dimbench.comparing.estimate import LEVEL, Noise
from dimbench.comparing.judge import NOISE_FACTOR
from dimbench.progress import stepping
from dimbench.report.tables import Table
from dimbench.results import Record


def run(
    name: Annotated[
        str,
        typer.Argument(help="The model that is measured against itself.", metavar="NAME", autocompletion=options.begun),
    ] = "dit-digits",
    bench: options.ForBench = "",
    rounds: options.Rounds = 10,
    budget: options.RoundBudget = 3.0,
    seed: options.OrderSeed = 0,
    form: options.Format = options.Form.RICH,
    out: options.Out = None,
) -> None:
    """Measure this machine's noise by comparing a model with itself; compare then widens its margins to it."""
    model = presets.find(name).name
    file = output_file(out)
    results.check_writable(paths.calibrations_file())
    side = Side("dimbench", checkouts.here(), checkouts.options(bench))
    with stepping("calibrating", rounds) as progress:
        run_bench = partial(checkouts.bench, budget=budget)
        records = noise.calibrate(side, model, run_bench, rounds, seed, progress)
    emit(records, [_table(records)], file, form)


def _table(records: Sequence[Record]) -> Table:
    rows = []
    for record in records:
        deviation, bias = (float(record.metrics[name] or 0) for name in ("deviation", "bias"))
        first = record.samples["first"]
        widths = [math.expm1(Noise(deviation).half_width(len(first) * times)) for times in (1, 2, 4)]
        row = [
            record.model,
            str(record.conditions.get("device_name", "unnamed")),
            units.seconds(statistics.median(first)),
        ]
        rows.append([*row, str(len(first)), units.change(1 + bias), *(units.share(width, 1) for width in widths)])
    columns = ("model", "device", "time", "rounds", "A to A", "half-width", "at 2 x", "at 4 x the rounds")
    note = f"half-width: of the {LEVEL:.0%} interval of A against A; a change has to exceed {NOISE_FACTOR} of them."
    return Table(columns, rows, notes=[note])
