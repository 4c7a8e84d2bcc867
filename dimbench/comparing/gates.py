"""Which metrics are compared, how, and by how much each may get worse."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from dimbench.errors import UsageError
from dimbench.names import meant
from dimbench.quality.protocol import FRECHET


class MetricKind(StrEnum):
    EXACT = "exact"
    NOISY = "noisy"
    QUALITY = "quality"


class Verdict(StrEnum):
    SLOWER = "slower"
    FASTER = "faster"
    WORSE = "worse"
    BETTER = "better"
    SAME = "same"
    UNCLEAR = "unclear"
    CANNOT_TELL = "cannot tell"  # of two trainings
    EQUAL = "equal"
    CHANGED = "changed"


@dataclass(frozen=True)
class Metric:
    """How a metric is compared. `worse` is +1 where more is worse and -1 where less is. `margin` holds unless the user
    gives one: a share for noisy metrics, a difference for quality; without one, only --fail-if brings the metric in."""

    kind: MetricKind
    worse: int = 1
    margin: float | None = None
    is_time: bool = False

    @property
    def verdicts(self) -> tuple[Verdict, Verdict]:
        """What a change for the worse and one for the better is called."""
        return (Verdict.SLOWER, Verdict.FASTER) if self.is_time else (Verdict.WORSE, Verdict.BETTER)


_EXACT = Metric(MetricKind.EXACT)
METRICS = {
    "macs": _EXACT,
    "flops": _EXACT,
    "macs_per_image": _EXACT,
    "flops_per_image": _EXACT,
    "params": _EXACT,
    "params_dead": _EXACT,
    "params_fixed": _EXACT,
    "params_inference": _EXACT,
    "network_calls": _EXACT,
    "seconds": Metric(MetricKind.NOISY, margin=0.05, is_time=True),
    "images_per_second": Metric(
        MetricKind.NOISY, worse=-1, is_time=True
    ),  # mirrors seconds: twice the rows, nothing new
    "peak_bytes": Metric(MetricKind.NOISY, margin=0.05),
    **{f"{name}{end}": Metric(MetricKind.QUALITY) for name in FRECHET for end in ("", "_mean")},
    "fid": Metric(MetricKind.QUALITY, margin=0.05),  # at FID 2, other seeds alone move it by as much
    "fid_mean": Metric(MetricKind.QUALITY, margin=0.05),
    "fd_dinov2": Metric(MetricKind.QUALITY, margin=1.0),  # some 20 times FID's size
    "fd_dinov2_mean": Metric(MetricKind.QUALITY, margin=1.0),
    "cmmd": Metric(MetricKind.QUALITY),
    "kid_mean": Metric(MetricKind.QUALITY),
    "mind": Metric(MetricKind.QUALITY),
    "is_mean": Metric(MetricKind.QUALITY, worse=-1),
    "precision": Metric(MetricKind.QUALITY, worse=-1),
    "recall": Metric(MetricKind.QUALITY, worse=-1),
}


@dataclass(frozen=True)
class Gate:
    """One --fail-if: the metric that may not get worse, and by how much it may."""

    metric: str
    margin: float | None = None


def parse_gate(text: str) -> Gate:
    """ "seconds:+5%", "fid:+0.05", "macs" or "seconds"; UsageError says what does not fit."""
    name, _, allowed = text.partition(":")
    if name not in METRICS:
        hint = meant(name, METRICS, f"give one of {', '.join(METRICS)}", most=1)
        raise UsageError(f"--fail-if {text}: {name!r} is no metric that can be compared; {hint}")
    metric = METRICS[name]
    sign, unit = "+" if metric.worse > 0 else "-", "%" if metric.kind is MetricKind.NOISY else ""
    if not allowed and (metric.kind is MetricKind.EXACT or metric.margin is not None):
        return Gate(name)
    if metric.kind is MetricKind.EXACT:
        raise UsageError(f"--fail-if {text}: {name} is exact and compared by equality; give --fail-if {name}")
    found = re.fullmatch(rf"\{sign}?(\d+\.?\d*|\.\d+){unit}", allowed)
    if not found or not float(found[1]):
        example = f"{name}:{sign}{'5%' if unit else '0.05'}"
        raise UsageError(f"--fail-if {text}: not a margin by which {name} may get worse; write it as {example}")
    return Gate(name, float(found[1]) / (100 if unit else 1))
