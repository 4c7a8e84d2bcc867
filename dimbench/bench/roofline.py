"""Where a measured speed lies below what the device can do (Williams et al. 2009, doi 10.1145/1498765.1498785)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Position:
    """`utilisation` is the achieved share of the matmul rate (MFU), `intensity` MACs per byte of traffic, `ridge` the
    intensity from which on the matmul rate and not the memory is the limit, `roof_share` the achieved share of what
    this intensity allows."""

    utilisation: float
    intensity: float
    ridge: float
    roof_share: float

    @property
    def bound(self) -> str:
        return "compute" if self.intensity >= self.ridge else "memory"


def position(macs: float, seconds: float, traffic: float, macs_per_second: float, bytes_per_second: float) -> Position:
    """Of work of `macs` multiply-adds that took `seconds` and moved at least `traffic` bytes, on a device with these
    two ceilings. A lower bound of the traffic gives an upper bound of the roof."""
    intensity = macs / traffic
    roof = min(macs_per_second, intensity * bytes_per_second)
    achieved = macs / seconds
    return Position(
        utilisation=achieved / macs_per_second,
        intensity=intensity,
        ridge=macs_per_second / bytes_per_second,
        roof_share=achieved / roof,
    )
