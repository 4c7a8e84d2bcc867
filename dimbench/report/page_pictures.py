"""Which plots a report's page has, from its records: times and memory along resolution and batch, cost against FID,
methods. Beside each stand its conditions and how many of its readings are in doubt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from markupsafe import Markup

from dimbench import units
from dimbench.report import html, metrics, model_names, page_plots, timings, tradeoffs
from dimbench.report.choosing import Shortlist
from dimbench.report.findings import Raw
from dimbench.report.page_plots import Axes, Spot

_ALONG = (
    ("Latency against resolution", "resolution", "seconds", "image side (pixels)"),
    ("Throughput against batch", "batch", "images_per_second", "images per call"),
    ("Memory against resolution", "resolution", "peak_bytes", "image side (pixels)"),
    ("Memory against batch", "batch", "peak_bytes", "images per call"),
)
_UNIT = {"resolution": "px", "batch": "images"}


def cards(records: Sequence[Raw], choices: Shortlist | None) -> Markup:
    """All that can be drawn, "" where nothing can."""
    present = {model_names.family(record["model"]) for record in records}
    families = [name for name in model_names.families(present) if name in present]  # one colour each in all plots
    drawn = [*_along(records, families), *_of_choices(choices, families), *_methods(records)]
    return Markup('<div class="plots">{}</div>').format(Markup("").join(drawn)) if drawn else Markup("")


def _card(title: str, says: Sequence[str], drawn: Markup) -> Markup:
    return Markup('<div class="card"><h3>{}</h3>{}{}</div>').format(title, drawn, html.paragraphs(filter(None, says)))


def _along(records: Sequence[Raw], families: Sequence[str]) -> Iterator[Markup]:
    for title, axis, metric, meaning in _ALONG:
        if (found := timings.sweep(records, axis, metric)) is None:
            continue
        read = partial(metrics.text, metric)
        named = {}
        for name, curve in found.curves.items():
            model = found.models[name]
            shown = model_names.label(model) + name.removeprefix(model)
            group = model_names.family(model)
            named[shown] = [
                Spot(
                    place,
                    reading.value,
                    f"{shown}, {place:g} {_UNIT[axis]}: {read(reading.value)}"
                    + _interval(read, reading.low, reading.high),
                    reading.low,
                    reading.high,
                    reading.doubtful,
                    group=group,
                )
                for place, reading in sorted(curve.items())
            ]
        axes = Axes(meaning, metrics.label(metric), "{:g}".format, partial(metrics.text, metric, digits=3))
        yield _card(title, [found.says], page_plots.curves(named, axes, families))


def _interval(read: page_plots.Read, low: float | None, high: float | None) -> str:
    return "" if low is None or high is None or low == high else f", 95 % interval {read(low)} to {read(high)}"


def _of_choices(found: Shortlist | None, families: Sequence[str]) -> Iterator[Markup]:
    known = [choice for choice in found.choices if choice.macs and choice.published] if found else []
    if len(known) < 2:
        return
    spots = [
        Spot(
            choice.macs or 0.0,
            choice.published.fid,
            f"{model_names.label(choice.model)}: {units.short(choice.macs or 0)} MACs, FID {choice.published.fid:g} "
            f"({choice.published.says})",
            name=model_names.label(choice.model),
            group=model_names.family(choice.model),
        )
        for choice in known
        if choice.published
    ]
    axes = Axes("multiply-adds of one pass", "FID, the best published", partial(units.short, digits=0), "{:g}".format)
    drawn = page_plots.points(spots, axes, families, timings.front(spots))
    says = "Line: the front, which nothing here beats in both. Trainings, guidance and decoders differ: point at one."
    yield _card("Cost against FID", [says], drawn)


def _methods(records: Sequence[Raw]) -> Iterator[Markup]:
    found = [record for record in records if record["command"] == "frontier"]
    for against in tradeoffs.AGAINST:
        for panel in tradeoffs.panels(found, "run_macs", against):
            spots = [
                Spot(p.x, p.y, f"{p.group} {p.label}: {units.short(p.x)} MACs, {against} {p.y:.4g}".replace("  ", " "),
                     hollow=not p.sure, name=p.label or p.group, group=p.group)
                for p in panel.points
                if p.x > 0 and p.y > 0
            ]  # fmt: skip
            if len(spots) < 2:
                continue
            groups = sorted({spot.group for spot in spots}, key=lambda name: name != tradeoffs.PLAIN)
            axes = Axes("multiply-adds of an image", tradeoffs.AGAINST[against], units.short, "{:.3g}".format)
            hollow = sum(spot.hollow for spot in spots)
            front = timings.front([spot for spot in spots if not spot.hollow])
            says = [
                tradeoffs.shared([panel.conditions]),
                f"Hollow: {hollow} whose cost means nothing, for they compute as the plain network." if hollow else "",
            ]
            title = f"Methods of {model_names.label(panel.model)}: cost and {against}"
            yield _card(title, says, page_plots.points(spots, axes, groups, front) + page_plots.legend(groups))
