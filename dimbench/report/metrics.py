"""What the name of a metric says: its unit, how its numbers read, and which direction is the better one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from dimbench import units
from dimbench.quality.protocol import DISTANCES, METRICS

_FRECHET = tuple(f"{name}{end}" for name in DISTANCES for end in ("", "_mean", "_spread", "_minimum"))
# Per command the metrics that a summary shows, in this order; a command that is not here shows all it has.
HEADLINES: Mapping[str, Sequence[str]] = {
    "bench": ("seconds", "images_per_second", "mfu", "peak_bytes", "joules_per_image"),
    "flops": ("macs", "flops", "params"),
    "params": ("params", "params_dead"),
    "fid": (*_FRECHET, *(name for name in METRICS if name not in DISTANCES)),
}
_LABELS = {
    "seconds": "time",
    "images_per_second": "images/s",
    "mfu": "MFU (of the matmul rate)",
    "macs": "MACs",
    "flops": "FLOPs (2 x MACs)",
    "params": "parameters",
    "fid": "FID",
    "fid_mean": "mean FID",
    "fid_spread": "spread of FID",
    "fid_minimum": "minimum of FID",
    "sfid": "sFID",
    "is_mean": "IS",
    "kid_mean": "KID",
    "mind": "MIND",
    "forward_macs": "MACs of a forward pass",
    "step_macs_none": "MACs of a step, all kept",
    "step_macs_reentrant": "MACs of a step, reentrant",
    "step_macs_non-reentrant": "MACs of a step, non-reentrant",
    "gpu_days_none": "GPU-days, all kept",
    "gpu_days_reentrant": "GPU-days, reentrant",
    "gpu_days_non-reentrant": "GPU-days, non-reentrant",
    "claimed_days": "GPU-days as printed",
    "executed_share": "MACs of the plain run, executed",
    "printed_share": "of the plain run, as printed",
}
_UNITS = {"seconds": "s", "bytes": "B", "macs": "MACs", "flops": "FLOPs", "params": "parameters", "joules": "J"}
# without a unit
_LESS = (*_FRECHET, "sfid", "cmmd", "kid_mean", "mind", "lpips", "share_of_plain", "time_of_plain", "drift")
_MORE = ("mfu", "is_mean", "clip_score", "precision", "recall", "precision_vgg", "recall_vgg", "psnr", "ssim")
_NEEDS = "needs_"  # the share of a device's ceiling that a claim takes for granted
EXACT = ("MACs", "FLOPs", "parameters")  # units that are counted


def shown(command: str, metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the metrics to show of some records of one command; but for the first, those that some have."""
    known = dict.fromkeys(name for one in metrics for name in one)
    names = [name for name in HEADLINES.get(command, known) if name in known]
    return [name for name in names if name == names[0] or any(one.get(name) is not None for one in metrics)]


def label(name: str) -> str:
    """ "peak_bytes" -> "peak bytes"; abbreviations as the field writes them."""
    if name.startswith(_NEEDS):
        return f"needed of the ceiling of {name.removeprefix(_NEEDS)}"
    return _LABELS.get(name, name.replace("_", " "))


def unit(name: str) -> str:
    """ "peak_bytes" -> "B", "images_per_second" -> "images/s"; empty for a number without a unit."""
    if "_per_" in name and not name.endswith("_per_image"):
        return name.replace("_per_second", "/s").replace("_per_", "/").replace("_", " ")
    return next((_UNITS[word] for word in name.split("_") if word in _UNITS), "")


def best(name: str) -> Literal["least", "most"] | None:
    """Which figure of a metric is the better one: the least of time, memory, operations, energy and distances, the most
    of rates and of likeness; None where neither is known."""
    if unit(name) in _UNITS.values() or name in _LESS or name.startswith("seconds_per_"):
        return "least"
    return "most" if name in _MORE or name.endswith("_per_second") else None


def is_timed(name: str) -> bool:
    """Whether a metric comes from the series of times."""
    return name in ("seconds", "calls_per_second", "macs_per_second", "mfu") or name.startswith("images_per")


def text(name: str, value: float | None, full: bool = False, digits: int = units.DIGITS) -> str:
    """As `amount`, or that there is none."""
    return absent(name) if value is None else amount(name, value, full, digits)


def absent(name: str) -> str:
    """What stands where there is no figure."""
    if name.startswith(_NEEDS):
        return "not checkable"
    if name == "printed_share":
        return "not printed"
    return units.NOT_COUNTED if unit(name) in EXACT or name.startswith("gpu_days") else units.NOT_MEASURED


def amount(name: str, value: float, full: bool = False, digits: int = units.DIGITS) -> units.Amount:
    """A value as it reads in a table: "37.01 ms", "118.62 G"; `full` leaves counted numbers to the last digit, `digits`
    are those of times and rates."""
    match unit(name):
        case "s" | "seconds/token":
            return units.seconds(value, digits)
        case "B":
            return units.size(int(value))
        case counted if counted in EXACT:
            return units.exact(int(value)) if full else units.short(value)
        case _ if name == "mfu" or name.endswith("_share") or name.startswith(_NEEDS):
            return units.share(value, 1)
        case _:
            return units.decimal(value, f".{digits}g") if abs(value) < units.LONG else units.short(value)
