"""How far each choice in an evaluation moves its figures: one at a time, from the same seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from dimbench import stats
from dimbench.comparing.estimate import LEVEL, estimate
from dimbench.diffusion.process import find_process
from dimbench.quality.evaluating import ToDraw
from dimbench.quality.protocol import FRECHET
from dimbench.results import Record
from dimbench.sampling.labels import BALANCED, RANDOM

METRICS = (*FRECHET, "kid_mean", "is_mean")
SEED = "another seed"
# Of each way to draw one that is deterministic, or not where it is.
OTHERWISE = {"ddpm": "ddim", "ddim": "ddpm", "heun2": "sde-euler", "euler": "sde-euler", "sde-euler": "euler"}


@dataclass(frozen=True)
class Choice:
    """What is done `instead` of the usual, by these fields of a Request."""

    what: str
    usual: str
    instead: str
    fields: Mapping[str, Any]


def choices(task: ToDraw) -> tuple[list[Choice], list[str]]:
    """Those that this network leaves open, and a sentence on each that it does not."""
    request = task.request
    found, without = [], []
    if request.fitted.classes:
        usual = request.labels or BALANCED
        other = RANDOM if usual == BALANCED else BALANCED
        found.append(Choice("labels", usual, other, {"labels": other}))
    else:
        without.append("Labels: it is told none.")
    diffusion = request.backbone.diffusion
    sampler = request.sampler or diffusion["sampler"]
    other = OTHERWISE.get(sampler, "")
    if other in find_process(diffusion).samplers:
        found.append(Choice("ODE or SDE", sampler, other, {"sampler": other}))
    else:
        without.append(f"ODE or SDE: {sampler} has no counterpart among its samplers.")
    for steps in (request.steps // 2, 2 * request.steps) if request.steps > 3 else (2 * request.steps,):
        found.append(Choice("passes", f"{request.steps} steps", f"{steps} steps", {"steps": steps}))
    fewer = request.num_images // 2
    found.append(Choice("images", f"{request.num_images:,}", f"{fewer:,}", {"num_images": fewer}))
    channels = request.backbone.state[0]
    if channels <= 3 or request.cfg == 1:
        why = "nothing is guided" if request.cfg == 1 else f"it has {channels} in all"
        without.append(f"Guided channels: {why}.")
    else:
        without.append("Guided channels: not measured, for its preset fixes them.")
    without.append(f"Library and resize: {task.networks.extractor} is used as it is; another has its own protocol.")
    return found, without


def measure(task: ToDraw) -> list[Record]:
    """A record for the chance of the draw and one for each choice: by how much FID, KID and IS move on the mean over
    the task's seeds, with the 95 % interval of Student's t. UsageError for fewer than 2 seeds."""
    usual = _figures(task)
    open_choices, without = choices(task)
    records = [_chance(task, usual, without)]
    for choice in open_choices:
        other = _figures(replace(task, request=replace(task.request, **choice.fields), stores=[]))
        records.append(_record(task, choice, usual, other))
    return records


Figures = Mapping[str, Sequence[float]]


def _figures(task: ToDraw) -> Figures:
    sets = task.run().sets
    task.finish()
    measured = [name for name in METRICS if all(record.metrics.get(name) is not None for record in sets)]
    return {name: [float(record.metrics[name] or 0) for record in sets] for name in measured}


def _chance(task: ToDraw, usual: Figures, without: Sequence[str]) -> Record:
    """Two draws of different seeds differ by as much, nineteen times of twenty."""
    metrics: dict[str, float | None] = {}
    for name, series in usual.items():
        half = stats.t_quantile(LEVEL, len(series) - 1) * math.sqrt(2) * stdev(series)
        metrics |= {name: fmean(series), f"{name}_change": 0.0, f"{name}_low": -half, f"{name}_high": half}
    choice = Choice("chance", "a seed", SEED, {})
    return Record(
        "fid-lottery", task.request.backbone.name, _conditions(task, choice), metrics, samples=dict(_lists(usual)),
        details={"does_not_apply": list(without)},
    )  # fmt: skip


def _record(task: ToDraw, choice: Choice, usual: Figures, other: Figures) -> Record:
    metrics: dict[str, float | None] = {}
    for name, series in other.items():
        moved = estimate([b - a for a, b in zip(usual[name], series, strict=True)])
        metrics |= {name: fmean(series), f"{name}_change": moved.mean}
        metrics |= {f"{name}_low": moved.low, f"{name}_high": moved.high}
    conditions = _conditions(task, choice)
    return Record("fid-lottery", task.request.backbone.name, conditions, metrics, samples=dict(_lists(other)))


def _lists(figures: Figures) -> Mapping[str, list[float]]:
    return {name: list(series) for name, series in figures.items()}


def _conditions(task: ToDraw, choice: Choice) -> dict[str, Any]:
    request = task.request
    return {
        "choice": choice.what, "usual": choice.usual, "instead": choice.instead, "resolution": request.size[0],
        "num_images": request.num_images, "steps": request.steps, "cfg": request.cfg, "seed": request.seed,
        "repeats": task.repeats, "extractor": task.networks.extractor,
        "sampler": request.sampler or request.backbone.diffusion["sampler"],
    }  # fmt: skip
