"""A report as JSON for services that track benchmarks: github-action-benchmark and Bencher."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dimbench.errors import UsageError
from dimbench.report import metrics, wording
from dimbench.report.findings import Findings, History, Point, point

_NANO = 10**9  # Bencher's built-in measure `latency` counts nanoseconds


def github_benchmark(findings: Findings) -> str:
    """The list that github-action-benchmark reads as `customSmallerIsBetter`, of the metrics of which that is true.

    Format: https://github.com/benchmark-action/github-action-benchmark, "custom benchmark tool".
    """
    entries = []
    for series, metric, found in _figures(findings):
        if metrics.best(metric) == "least":
            name = f"{_name(series)}: {metrics.label(metric)}"
            entry = {"name": name, "unit": metrics.unit(metric) or metrics.label(metric), "value": found.value}
            if found.interval:
                entry["range"] = "{:.4g} to {:.4g}".format(*found.interval)
            entries.append({**entry, "extra": _extra(series, found)})
    return _json(entries)


def bencher(findings: Findings) -> str:
    """The object that Bencher reads with its `json` adapter: benchmark -> measure -> value with its bounds.

    Time goes to the built-in measure `latency` in nanoseconds and images/s to `throughput`; other metrics keep their
    name. Format: https://bencher.dev/docs/reference/bencher-metric-format/.
    """
    benchmarks: dict[str, dict[str, dict[str, float]]] = {}
    for series, metric, found in _figures(findings):
        scale = _NANO if metric == "seconds" else 1
        measure = {"seconds": "latency", "images_per_second": "throughput"}.get(metric, metric.replace("_", "-"))
        bounds = dict(zip(("lower_value", "upper_value"), found.interval or (), strict=False))
        values = {name: number * scale for name, number in {"value": found.value, **bounds}.items()}
        benchmarks.setdefault(_name(series), {})[measure] = values
    return _json(benchmarks)


def _figures(findings: Findings) -> Iterator[tuple[History, str, Point]]:
    """The latest figure of every metric that was measured and that a summary shows."""
    if not findings.series:
        raise UsageError("only comparisons were given, and this format holds measurements; give the records compared")
    for series in findings.series:
        for metric in metrics.shown(series.command, [series.latest["metrics"]]):
            if found := point(series.latest, metric):
                yield series, metric, found


def _name(series: History) -> str:
    """With all conditions, so that a name always means the same and no number stands without them."""
    return f"{series.command} {series.model} ({wording.words(series.conditions)})"


def _extra(series: History, found: Point) -> str:
    environment = {name: known for name, known in series.latest["environment"].items() if known is not None}
    return f"samples: {found.count}\n" + "\n".join(f"{name}: {wording.plain(v)}" for name, v in environment.items())


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"
