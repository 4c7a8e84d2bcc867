"""What the name of a metric says: its unit, how its numbers read, and which direction is the better one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dimbench import units

NOT_MEASURED = "not measured"
# Per command the metrics that a summary shows, in this order; a command that is not here shows all it has.
HEADLINES: Mapping[str, Sequence[str]] = {
    "bench": ("seconds", "images_per_second", "peak_bytes"),
    "flops": ("macs", "flops", "params"),
    "params": ("params", "params_dead"),
    "fid": ("fid", "is_mean", "kid_mean", "precision", "recall"),
}
_LABELS = {
    "seconds": "time",
    "images_per_second": "images/s",
    "macs": "MACs",
    "flops": "FLOPs",
    "params": "parameters",
    "fid": "FID",
    "sfid": "sFID",
    "is_mean": "IS",
    "kid_mean": "KID",
}
_UNITS = {"seconds": "s", "bytes": "B", "macs": "MACs", "flops": "FLOPs", "params": "parameters", "joules": "J"}
_DISTANCES = ("fid", "sfid", "kid_mean")  # without a unit, smaller is better
EXACT = ("MACs", "FLOPs", "parameters")  # units that are counted


def shown(command: str, metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the metrics to show of some records of one command."""
    found = list(dict.fromkeys(name for one in metrics for name in one))
    return [name for name in HEADLINES[command] if name in found] if command in HEADLINES else found


def label(name: str) -> str:
    """ "peak_bytes" -> "peak bytes"; abbreviations as the field writes them."""
    return _LABELS.get(name, name.replace("_", " "))


def unit(name: str) -> str:
    """ "peak_bytes" -> "B"; empty for a number without a unit, and for a rate what it counts per what."""
    words = name.split("_")
    if "per" in words:
        return name.replace("_per_", "/").replace("_", " ")
    return next((_UNITS[word] for word in words if word in _UNITS), "")


def smaller_is_better(name: str) -> bool:
    """Whether less of this metric is better: time, memory, operations, energy, distances."""
    return unit(name) in _UNITS.values() or name in _DISTANCES


def text(name: str, value: float | None, full: bool = False) -> str:
    """A value as it reads in a table: "37.01 ms", "118.62 G"; `full` leaves counted numbers to the last digit."""
    if value is None:
        return NOT_MEASURED
    match unit(name):
        case "s":
            return units.seconds(value)
        case "B":
            return units.size(int(value))
        case counted if counted in EXACT:
            return units.exact(int(value)) if full else units.short(value)
        case _:
            return f"{value:.4g}"
