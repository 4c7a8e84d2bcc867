"""This machine's noise: what a model measured against itself shows, kept for later comparisons."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from statistics import stdev
from typing import Any

from dimbench import paths, results
from dimbench.comparing import pairs
from dimbench.comparing.checkouts import Side
from dimbench.comparing.estimate import Noise, estimate
from dimbench.comparing.judge import Pair
from dimbench.comparing.rounds import Progress, Runner, Series
from dimbench.errors import DimbenchError
from dimbench.progress import say
from dimbench.results import Record


def known() -> dict[str, Noise]:
    """The noise of this host's devices by their name, as they were calibrated last; what is no calibration is left out
    and said."""
    file = paths.calibrations_file()
    entries, damaged = results.sound(file)
    usable = [entry for entry in entries if _is_usable(entry)]
    if damaged := damaged + len(entries) - len(usable):
        say(f"{file}: {damaged} lines are no calibrations and were left out; `dimbench calibrate` measures anew")
    here = [entry for entry in usable if entry["conditions"].get("host") == platform.node()]
    return {entry["conditions"].get("device_name", ""): Noise(entry["metrics"]["deviation"]) for entry in here}


def _is_usable(entry: Mapping[str, Any]) -> bool:
    named = isinstance(entry["conditions"].get("device_name", ""), str)
    return named and (entry["metrics"].get("deviation") or 0) > 0


def record(pair: Pair) -> Record:
    found, deviation = estimate(pair.values()), stdev(pair.values())
    return Record(
        "calibrate",
        pair.model,
        {"host": platform.node(), **pair.conditions},
        {"noise": math.expm1(found.half_width), "deviation": deviation, "bias": math.expm1(found.mean)},
        samples={"first": list(filter(None, pair.base)), "second": list(filter(None, pair.new))},
    )


def calibrate(side: Side, model: str, run: Runner, rounds: int, seed: int, progress: Progress) -> list[Record]:
    """The noise of the devices that `side` measures `model` on, stored where `known` finds it."""
    series = Series((side, side), run, seed, progress)
    series.extend([model], rounds)
    measured = [pair for pair in pairs.of_rounds(series.rounds[model]) if pair.metric == "seconds"]
    if not measured or not all(pair.countable for pair in measured):
        raise DimbenchError(f"bench measured no time of {model}; give a model and options that run here")
    records = [record(pair) for pair in measured]
    results.append(records, paths.calibrations_file())
    return records
