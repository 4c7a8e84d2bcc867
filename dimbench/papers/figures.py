"""A figure as its source prints it: how exactly it is known, and which numbers it can stand for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from dimbench.units import Amount

_PRINTED = re.compile(r"([\d,]*\.?\d+) ?([kKMGBT]?)")
_SUFFIXES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}

ROUNDED = "rounded"
CUT_OFF = "cut off, not rounded"
IN_TENS = "rounded to tens"


@dataclass(frozen=True)
class Figure:
    """`value` in plain units; `place` is what one unit of the last printed digit is worth, `tens` whether the figure is
    a whole number that ends in 0, so that it may be known to tens only."""

    printed: str
    value: Decimal
    place: Decimal
    tens: bool

    def reading(self, number: int | float) -> str:
        """How `number` gives this figure: one of ROUNDED, CUT_OFF and IN_TENS, or "" where it does not."""
        exact = Decimal(number)
        distance = abs(exact - self.value)
        if distance <= self.place / 2:
            return ROUNDED
        if self.value <= exact < self.value + self.place:
            return CUT_OFF
        return IN_TENS if self.tens and distance <= 5 * self.place else ""

    def off(self, number: int | float) -> float:
        """How far the figure lies above `number`, as a share of it; negative below."""
        return float(self.value / Decimal(number)) - 1

    def like(self, number: int | float) -> str:
        """`number` in the figure's unit and notation, with two digits more: 674834720 beside "675M" is "674.83M"."""
        _, suffix = _parts(self.printed)
        decimals = len(self.printed.partition(".")[2].rstrip("kKMGBT "))
        unit = self.place * 10**decimals
        said = f"{Decimal(number) / unit:,.{max(2, decimals + 1)}f}"
        return f"{said}{suffix}" if suffix else Amount(said, float(Decimal(number) / unit))


def read(printed: str, unit: int = 1) -> Figure | None:
    """The figure behind "118.64", "675M" or "16.5B"; `unit` is what a figure without a suffix counts in. None where it
    is no single number."""
    number, suffix = _parts(printed)
    if not number:
        return None
    value = Decimal(number.replace(",", ""))
    scale = _SUFFIXES[suffix] if suffix else unit
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    place = Decimal(10) ** exponent
    tens = exponent == 0 and value > 0 and value % 10 == 0
    return Figure(printed, value * scale, place * scale, tens)


def _parts(printed: str) -> tuple[str, str]:
    found = _PRINTED.fullmatch(printed.strip())
    return (found[1], found[2]) if found else ("", "")
