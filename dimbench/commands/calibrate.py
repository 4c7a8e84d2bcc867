from __future__ import annotations

import math
import platform
import shlex
import statistics
from collections.abc import Sequence
from functools import partial
from statistics import stdev
from typing import Annotated

import typer

from dimbench import paths, presets, results, units
from dimbench.commands import checkouts, options
from dimbench.commands.checkouts import Side
from dimbench.commands.emit import emit, output_file, stepping
from dimbench.commands.rounds import Series
from dimbench.errors import DimbenchError
from dimbench.report import pairs
from dimbench.report.compare import NOISE_FACTOR, Pair
from dimbench.report.estimate import LEVEL, Noise, estimate
from dimbench.report.tables import Table
from dimbench.results import Record


def run(
    name: Annotated[
        str, typer.Argument(help="The model that is measured against itself.", metavar="NAME")
    ] = "dit-digits",
    bench: options.ForBench = "",
    rounds: options.Rounds = 10,
    budget: options.RoundBudget = 3.0,
    seed: options.OrderSeed = 0,
    json: options.Json = False,
    out: options.Out = None,
) -> None:
    """Measure this machine's noise by comparing a model with itself; compare then widens its margins to it."""
    model = presets.find(name).name
    file = output_file(out)
    results.check_writable(paths.calibrations_file())
    side = Side("dimbench", checkouts.here(), tuple(shlex.split(bench)))
    with stepping("calibrating", rounds) as progress:
        series = Series((side, side), partial(checkouts.bench, budget=budget), seed, progress)
        series.extend([model], rounds)
    measured = [pair for pair in pairs.of_rounds(series.rounds[model]) if pair.metric == "seconds"]
    if not measured or not all(pair.countable for pair in measured):
        raise DimbenchError(f"bench measured no time of {model}; give a model and options that run here")
    records = [record(pair) for pair in measured]
    results.append(records, paths.calibrations_file())
    emit(records, [_table(records)], file, "json" if json else "rich")


def known() -> dict[str, Noise]:
    """The noise of this host's devices by their name, as they were calibrated last."""
    file = paths.calibrations_file()
    found = results.read(file) if file.is_file() else []
    here = [entry for entry in found if entry["conditions"]["host"] == platform.node()]
    return {entry["conditions"].get("device_name", ""): Noise(entry["metrics"]["deviation"]) for entry in here}


def record(pair: Pair) -> Record:
    found, deviation = estimate(pair.values()), stdev(pair.values())
    return Record(
        "calibrate",
        pair.model,
        {"host": platform.node(), **pair.conditions},
        {"noise": math.expm1(found.half_width), "deviation": deviation, "bias": math.expm1(found.mean)},
        samples={"first": list(filter(None, pair.base)), "second": list(filter(None, pair.new))},
    )


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
