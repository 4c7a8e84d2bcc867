"""Records as `bench` and `compare` write them, made up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Any

from dimbench.results import Record

START = datetime(2026, 11, 1, tzinfo=UTC)
MACHINE = {"dimbench": "0.1.0", "commit": "aaaa", "torch": "2.15.0", "processor": "Xeon", "cpus": 2}
CONDITIONS = {"device": "cpu", "device_name": "Xeon", "dtype": "fp32", "batch": 1, "resolution": 256}


def bench(
    model: str = "dit-xl2",
    seconds: float | None = 0.04,
    *,
    run: int = 0,
    samples: int = 20,
    noise: float = 0.02,
    environment: dict[str, Any] | None = None,
    **conditions: Any,
) -> dict[str, Any]:
    """Of the day `run`, spread evenly round the median `seconds`; None for a row that ran out of memory."""
    base: dict[str, Any] = {"macs": 118621421568, "params": 675129632}
    series, warnings = [], ()
    if seconds is None:
        metrics = {"seconds": None, "images_per_second": None, "peak_bytes": None, **base}
        warnings = ("Out of memory: batch 64 needs more than 8.00 GB; give a smaller --batch.",)
    else:
        series = [seconds * (1 + noise * (2 * (k + 0.5) / samples - 1)) for k in range(samples)]
        low, high = series[: samples // 2], series[samples // 2 :]
        series = [one for both in zip_longest(high, low) for one in both if one]  # neighbours are not alike
        metrics = {"seconds": seconds, "images_per_second": 1 / seconds, "peak_bytes": 2_700_000_000, **base}
    return Record(
        "bench",
        model,
        {**CONDITIONS, **conditions},
        metrics,
        warnings,
        {"seconds": series} if series else {},
        environment=MACHINE if environment is None else environment,
        created=(START + timedelta(days=run)).isoformat(timespec="seconds"),
    ).as_dict()


def compare(
    verdict: str = "same",
    ratio: float | None = 1.0,
    *,
    model: str = "dit-xl2",
    metric: str = "seconds",
    base: float | None = 0.04,
    new: float | None = None,
    width: float = 0.02,
    margin: float | None = 0.05,
    confirmed: bool = False,
    reason: str = "",
    **conditions: Any,
) -> dict[str, Any]:
    """NEW is `ratio` times BASE, with `width` to either side of the ratio; `new` where there is no ratio."""
    noisy = ratio is not None and margin is not None
    found = ratio * base if ratio is not None and base is not None else new
    metrics = {
        "base": base,
        "new": found,
        "ratio": ratio,
        "low": ratio - width if noisy else None,
        "high": ratio + width if noisy else None,
        "margin": margin,
    }
    details = {
        "metric": metric,
        "verdict": verdict,
        "confirmed": confirmed,
        "reason": reason,
        "of": "bench",
        "base_environment": MACHINE,
        "new_environment": {**MACHINE, "commit": "bbbb"},
    }
    created = START.isoformat(timespec="seconds")
    return Record("compare", model, {**CONDITIONS, **conditions}, metrics, (), {}, details, MACHINE, created).as_dict()


def exact(verdict: str, base: float, new: float, metric: str = "macs", model: str = "dit-xl2") -> dict[str, Any]:
    """A comparison by equality."""
    changed = verdict == "changed"
    return compare(verdict, new / base, model=model, metric=metric, base=base, margin=None, confirmed=changed)


def every_outcome() -> list[dict[str, Any]]:
    """One comparison of each outcome."""
    return [
        compare("same", 1.002, width=0.01, batch=4),
        compare("slower", 1.123, confirmed=True),
        compare("unclear", 1.04, width=0.06, model="udit-l", reason="the interval is too wide to tell"),
        compare("faster", 0.8, model="dim-h2", confirmed=True),
        compare("slower", 1.09, model="sit-xl2"),
        compare("changed", None, model="dimsum-l2", base=0.2, new=None, margin=None, reason="NEW has no figure"),
        compare("worse", None, metric="fid", base=2.0, new=2.12, confirmed=True),
        exact("changed", 118621421568, 118621421569),
        exact("equal", 675129632, 675129632, "params"),
    ]
