"""The plots by name: what each shows, gathered from counts, published figures and records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from dimbench import presets
from dimbench.counting import kept
from dimbench.errors import DimbenchError, UsageError
from dimbench.papers import frame, published
from dimbench.papers.published import PublishedFid
from dimbench.presets import Recipe
from dimbench.progress import say, track
from dimbench.report import model_names, timings, tradeoffs
from dimbench.report.crossover import crossings
from dimbench.report.curves import Curve, TimedPoint

if TYPE_CHECKING:
    from dimbench.counting.summed import Sums
    from dimbench.report import plots

LARGEST = ("dit-xl2", "sit-xl2", "udit-l", "dim-h2", "dimsum-l2")
# Attention, convolutions, scans and linear attention, as far as 2K pixels.
GROWING = ("adm-256", "jit-h16", "dimsum-xl2", "dit-xl2", "udit-l", "dim-h2", "zigma-b1", "dico-xl", "sana-0.6b")
SIDES = (256, 384, 512, 768, 1024, 1536, 2048)
OPERATORS = ("linear", "attention", "convolution", "selective scan", "causal conv", "haar tokens", "matmul", "other")


class Asked:
    """What is asked of a plot: `models` as backbone.find takes them (none: all it can show), with their `inputs`; the
    resolution, the record files; `cost` pass, image or seconds, "" for the plot's own; and `against` what, fid or
    drift."""

    def __init__(
        self,
        models: Sequence[str],
        resolution: int,
        files: Sequence[Path] | None = None,
        cost: str = "",
        against: str = "fid",
        inputs: Sequence[str] = (),
    ) -> None:
        self.texts = {_name(text): text for text in models}
        self.resolution = resolution
        self.files = files
        self.cost = cost
        self.against = against
        self.inputs = inputs

    @property
    def models(self) -> list[str]:
        """Their names, as records have them."""
        return list(self.texts)

    def wants(self, model: str) -> bool:
        return not self.texts or model in self.texts

    def at_sides(self, name: str) -> Curve:
        """GMACs of a model by the SIDES that it can be built for."""
        points = {}
        for side in SIDES:
            with suppress(UsageError):
                macs = self._cost(self.texts.get(name, name), side).macs("macs") / 1e9
                points[float(side)] = TimedPoint(macs, macs, macs)
        return points

    def costs(self, names: Sequence[str]) -> dict[str, Sums]:
        """The counts of the models, at the resolution asked for."""
        distinct = list(dict.fromkeys(names))
        return {name: self._cost(self.texts.get(name, name), self.resolution) for name in track(distinct, "counting")}

    def _cost(self, text: str, resolution: int) -> Sums:
        inputs = presets.meant_for(text, self.inputs, list(self.texts.values()))
        if presets.of(text) and not inputs:
            return kept.sums(text, resolution)
        from dimbench.backbone import find
        from dimbench.counting.costs import count

        return count(find(text, resolution, inputs=inputs))

    def fids(self) -> list[PublishedFid]:
        """The published FIDs of these models."""
        return [entry for entry in published.fids(self.resolution) if self.wants(entry.model)]

    def unpublished(self) -> dict[str, str]:
        """For every model asked for by name, why a plot of FIDs might not show it."""
        why = f"no FID at {self.resolution} pixels is published"
        return {name: why if model_names.preset(name) else "no preset states a FID of it" for name in self.texts}


def left_out(reasons: Mapping[str, str], shown: Collection[str]) -> str:
    """A sentence on the models that are not shown, with the reasons, also said on stderr; empty where all are.

    Raises DimbenchError where none is shown.
    """
    groups: dict[str, list[str]] = {}
    for model, why in reasons.items():
        if model not in shown:
            groups.setdefault(why, []).append(model_names.label(model))
    said = "; ".join(f"{', '.join(sorted(labels))}: {why}" for why, labels in groups.items())
    if not shown:
        raise DimbenchError(f"there is nothing to draw ({said or 'no model has a figure'}); name other models")
    if said:
        say(f"left out: {said}")
    return f" Left out: {said}." if said else ""


def gflops_fid(request: Asked, file: Path, form: str) -> None:
    """GFLOPs of one pass, or of a whole image, against published FID, all families counted by one rule."""
    from dimbench.report import plots

    points, reasons = (_by_image if request.cost == "image" else _by_pass)(request)
    absent = left_out({**request.unpublished(), **reasons}, {model for model, _ in points})
    size = f"ImageNet {request.resolution} x {request.resolution}"
    fid = "FID-50K, as published (lower is better)"
    if request.cost == "image":
        around = plots.Frame(
            f"Cost of an image and FID, {size}",
            "multiply-adds of an image: all passes with guidance, and decoding (TMACs, rule macs)",
            fid,
            "Each model's best published FID, counted as it was drawn. Trainings differ in length, latents in kind."
            + absent,
        )
    else:
        around = plots.Frame(
            f"Cost of one pass and FID, {size}",
            "multiply-adds of one pass (GMACs, rule macs)",
            fid,
            "Filled: 400K training steps of batch 256, no guidance. Hollow: a model's best under other conditions, not "
            f"comparable.{absent}",
        )
    dots = [dot for _, dot in points]
    plots.scatter(
        dots, model_names.families(dot.group for dot in dots), replace(around, log_x=True, log_y=True), file, form
    )


Placed = tuple[list[tuple[str, "plots.Dot"]], Mapping[str, str]]
"""Models with their points, and why others have none."""


def _by_pass(request: Asked) -> Placed:
    """Those of equal training and, of families without such, each model's best."""
    found = request.fids()
    fair = {presets.find(entry.model).family for entry in found if entry.like}
    others = {entry.model: entry.fid for entry in sorted(found, key=lambda entry: -entry.fid)}
    others |= {model: float(recipe.fid) for model, recipe in _best_recipes(request).items()}
    shown = [(entry.model, entry.fid, False) for entry in found if entry.like]
    shown += [(model, fid, True) for model, fid in others.items() if presets.find(model).family not in fair]
    costs = request.costs([model for model, _, _ in shown])
    points = [
        (model, _dot(model, costs[model].macs("macs") / 1e9, fid, costs[model], hollow)) for model, fid, hollow in shown
    ]
    return points, dict.fromkeys(others, "its FID is of another training than its family's others")


def _by_image(request: Asked) -> Placed:
    """Each model's best, at the cost of drawing an image as its recipe says."""
    from dimbench import backbone
    from dimbench.sampling.image_cost import ADAPTIVE, image_cost, settings_of

    best = _best_recipes(request)
    fixed = [model for model, recipe in best.items() if recipe.sampling["sampler"] != ADAPTIVE]
    costs = request.costs(fixed)
    points = []
    for model in track(fixed, "counting images"):
        found, how = backbone.find(model, request.resolution), best[model].sampling
        settings = settings_of(found, how["sampler"], how["steps"], how["cfg"])
        macs = image_cost(found, settings, decoded=found.stride > 1).macs("macs")
        points.append((model, _dot(model, macs / 1e12, float(best[model].fid), costs[model], hollow=True)))
    return points, dict.fromkeys(best, f"its sampler, {ADAPTIVE}, chooses its steps by what the network says")


def _best_recipes(request: Asked) -> dict[str, Recipe]:
    """By model the recipe of the lowest FID that is published on ImageNet at the resolution."""
    found = [r for r in presets.recipes().values() if (r.data, r.resolution) == ("ImageNet", request.resolution)]
    return {r.model: r for r in sorted(found, key=lambda r: -float(r.fid)) if request.wants(r.model)}


def _dot(model: str, cost: float, fid: float, count: Sums, hollow: bool) -> plots.Dot:
    """With the whole label where the families that it stands for are not told apart by size."""
    from dimbench.report import plots

    label = model_names.label(model) if hollow else model_names.size(model)
    return plots.Dot(cost, fid, model_names.family(model), label, hollow, _kind(count))


def _kind(count: Sums) -> str:
    """What carries information from place to place: a scan where there is one, else the dearer of the two others."""
    parts = count.by_operator
    scan = "selective_scan" in parts
    return "scan" if scan else max(("attention", "convolution"), key=lambda part: parts.get(part, 0))


def params_macs(request: Asked, file: Path, form: str) -> None:
    """Parameters against multiply-adds of one pass, of every size whose cost is printed."""
    from dimbench.report import plots

    costs = request.costs(
        request.models or [p.name for p in presets.all_presets().values() if p.claims and p.resolution == 256]
    )
    points = [
        plots.Dot(
            count.params["params"] / 1e6, count.macs("macs") / 1e9, model_names.family(name), model_names.size(name)
        )
        for name, count in costs.items()
    ]
    around = plots.Frame(
        f"Parameters and cost of one pass at {request.resolution} x {request.resolution}",
        "trained parameters (millions)",
        "multiply-adds of one pass (GMACs, rule macs)",
        log_x=True,
        log_y=True,
    )
    plots.scatter(points, model_names.families(dot.group for dot in points), around, file, form)


def macs_operator(request: Asked, file: Path, form: str) -> None:
    """Where multiply-adds go: linear layers, attention, convolution, scan."""
    from dimbench.report import plots

    bars = {
        model_names.label(name): {part.replace("_", " "): macs / 1e9 for part, macs in count.by_operator.items()}
        for name, count in request.costs(request.models or LARGEST).items()
    }
    size = request.resolution
    around = plots.Frame(f"Where the work is, {size} x {size}", "multiply-adds of one pass (GMACs, rule macs)", "")
    plots.stacked(bars, around, file, form, OPERATORS)


def macs_resolution(request: Asked, file: Path, form: str) -> None:
    """Multiply-adds of one pass from 256 to 2048 pixels, with the resolutions where one model overtakes another."""
    from dimbench.report import plots

    names = request.models or list(GROWING)
    counted = {name: request.at_sides(name) for name in track(names, "counting")}
    curves = {name: curve for name, curve in counted.items() if len(curve) > 1}
    absent = left_out(dict.fromkeys(names, "it draws no two of these sizes"), curves)
    crossed = timings.overtakings(curves, "px")
    series = [
        plots.Curve(
            model_names.label(name),
            [plots.Mark(side, point.value) for side, point in curve.items()],
            crossed.get(name, ()),
            _growth(curve),
        )
        for name, curve in curves.items()
    ]
    around = plots.Frame(
        "Cost of one pass against resolution",
        "image side (pixels), and its tokens of 16 x 16 pixels",
        "multiply-adds of one pass (GMACs, rule macs)",
        f"{_overtaken(curves)} Between counted sizes costs are taken as powers of the side; a network without a size "
        f"was not made for it.{absent}",
        log_x=True,
        log_y=True,
    )
    plots.lines(series, around, file, form, {side: f"{side}\n{(side // 16) ** 2:,}" for side in SIDES})


def _overtaken(curves: Mapping[str, Curve]) -> str:
    """In words, where one model comes to need less than another."""
    label = {name: model_names.label(name) for name in curves}
    found = [crossing for pair in combinations(curves, 2) for crossing in crossings(*pair, curves)]
    said = [f"{label[c.winner]} below {label[c.loser]} from {c.at:,.0f} px" for c in sorted(found, key=lambda c: c.at)]
    return f"Circled: {'; '.join(said)}." if said else "No two cross."


def _growth(curve: Curve) -> str:
    """Whether the cost grows as the number of tokens does, or beyond it."""
    first, last = min(curve), max(curve)
    beyond = curve[last].value / curve[first].value > 1.05 * (last / first) ** 2
    return "faster than tokens" if beyond else "as tokens, or slower"


def pareto(request: Asked, file: Path, form: str) -> None:
    """Cost of a whole image, guidance and steps included, against published FID, with the front of the best."""
    from dimbench.report import plots

    known = request.fids()
    best = {(e.model, e.passes): e for e in sorted(known, key=lambda entry: -entry.fid) if e.checkpoint}
    placed = [entry for entry in best.values() if entry.passes]
    unread = {
        recipe.model: "its FID stands in no table of its family; gflops-fid --cost image shows it"
        for recipe in _best_recipes(request).values()
    }
    unplaced = {entry.model: "a FID is published, but no checkpoint that has it" for entry in known}
    uncounted = {model: "its passes per image are not published" for model, _ in best}
    absent = left_out({**request.unpublished(), **unread, **unplaced, **uncounted}, {entry.model for entry in placed})
    costs = request.costs([entry.model for entry in placed])
    points = [
        plots.Dot(
            (entry.passes or 0) * costs[entry.model].macs("macs") / 1e12,
            entry.fid,
            model_names.family(entry.model),
            ", ".join(
                [
                    model_names.size(entry.model),
                    entry.conditions["training"].split()[0],
                    f"cfg {entry.conditions['cfg']:g}",
                ]
            ),
        )
        for entry in placed
    ]
    around = plots.Frame(
        f"Cost of an image and FID, ImageNet {request.resolution} x {request.resolution}",
        "multiply-adds of one image without the autoencoder (TMACs, rule macs)",
        "FID-50K, as published (lower is better)",
        "Each model's best at each cost; training lengths differ. The line is the front: nothing published has a lower "
        f"FID for less.{absent}",
        log_x=True,
        log_y=True,
    )
    plots.scatter(
        points, model_names.families(dot.group for dot in points), around, file, form, front=timings.front(points)
    )


def latency_resolution(request: Asked, file: Path, form: str) -> None:
    """Seconds of one pass against resolution, with the resolutions where one model overtakes another."""
    from dimbench.report import plots

    around = plots.Frame("Latency against resolution", "image side (pixels)", "seconds of one pass (lower is better)")
    _timed(request, "resolution", "seconds", around, file, form)


def throughput_batch(request: Asked, file: Path, form: str) -> None:
    """Images per second of one pass against batch size."""
    from dimbench.report import plots

    around = plots.Frame("Throughput against batch", "images per batch", "images per second (higher is better)")
    _timed(request, "batch", "images_per_second", around, file, form)


def frontier(request: Asked, file: Path, form: str) -> None:
    """Cost of an image under methods against FID or drift, a panel per network, with the front of the best."""
    from dimbench.report import plots

    known = [r for r in frame.known_records(request.files) if r["command"] == "frontier" and request.wants(r["model"])]
    groups = tradeoffs.panels(known, _COST_OF[request.cost][0], request.against)
    if not groups:
        raise DimbenchError("no records of methods beside their plain run; `dimbench frontier NAME` makes them")
    panels = [
        plots.Facet(
            f"{model_names.label(panel.model)}, {panel.conditions['sampler']} {panel.conditions['steps']}, "
            f"{panel.conditions['num_images']:,} images",
            [plots.Dot(p.x, p.y, p.group, p.label, hollow=not p.sure) for p in panel.points],
            timings.front([point for point in panel.points if point.sure]),
        )
        for panel in groups
    ]
    names = dict.fromkeys(point.group for panel in groups for point in panel.points)
    drift = " Drift: from the plain run's samples of the same noise." if request.against == "drift" else ""
    around = plots.Frame(
        "Methods: what an image costs and how good it is" if request.against == "fid" else "Methods: cost and drift",
        _COST_OF[request.cost][1],
        tradeoffs.AGAINST[request.against],
        f"{tradeoffs.shared([panel.conditions for panel in groups])} Line: the front, which nothing beats in both. "
        "Numbers: a method's first setting. Hollow: rounded numbers computed as the plain network computes, so that "
        f"their cost means nothing.{drift}",
        log_y=request.against == "fid",
    )
    plots.facets(panels, sorted(names, key=lambda name: name != tradeoffs.PLAIN), around, file, form)


_COST_OF = {
    "": ("run_macs", "multiply-adds of an image as executed (MACs, rule macs)"),
    "image": ("run_macs", "multiply-adds of an image as executed (MACs, rule macs)"),
    "seconds": ("seconds", "seconds of an image, median"),
}

PLOTS: dict[str, Callable[[Asked, Path, str], None]] = {
    "gflops-fid": gflops_fid,
    "params-macs": params_macs,
    "macs-operator": macs_operator,
    "macs-resolution": macs_resolution,
    "pareto": pareto,
    "latency-resolution": latency_resolution,
    "throughput-batch": throughput_batch,
    "frontier": frontier,
}


def _timed(request: Asked, axis: str, metric: str, around: plots.Frame, file: Path, form: str) -> None:
    from dimbench.report import plots

    known = [record for record in frame.known_records(request.files) if request.wants(record["model"])]
    sweep = timings.sweep(known, axis, metric)
    if sweep is None:
        raise DimbenchError(
            f"no records of one model at two {axis}s under equal conditions; `dimbench bench NAME... --{axis} A,B,...` "
            "makes them"
        )
    timed = [record["model"] for record in known if record["command"] == "bench"]
    reasons = dict.fromkeys(timed, f"it has no two records of unlike {axis}s under the conditions shown")
    reasons |= {model: "it has no records" for model in request.models if model not in reasons}
    absent = left_out(reasons, set(sweep.models.values()))
    crossed = timings.overtakings(sweep.curves, "px") if axis == "resolution" else {}
    series = []
    for name, curve in sweep.curves.items():
        model = sweep.models[name]
        marks = [plots.Mark(x, found.value, found.low, found.high, found.doubtful) for x, found in curve.items()]
        series.append(plots.Curve(model_names.label(model) + name.removeprefix(model), marks, crossed.get(name, ())))
    ticks = {place: f"{place:g}" for place in sorted({place for curve in sweep.curves.values() for place in curve})}
    plots.lines(series, replace(around, caption=sweep.says + absent, log_x=True, log_y=True), file, form, ticks)


def _name(text: str) -> str:
    """What records call that which backbone.find takes."""
    if presets.of(text):
        return text
    from dimbench.backbone import find

    return find(text).name
