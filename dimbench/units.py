"""Numbers to text; the only place where units change."""

from __future__ import annotations

import re
from collections.abc import Callable

NOT_MEASURED = "not measured"
NOT_COUNTED = "not counted"
NOTHING = "-"
LONG = 1e5  # from here on a prefix reads better than digits
SHARE = "share"  # the unit of what people read in per cent

_PREFIXES = ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


class Amount(str):
    """A number as people read it. Programs take `number`, in plain `unit`s, and the `ends` of its interval; an interval
    alone has no number."""

    number: float | None
    unit: str
    ends: tuple[float, float] | None

    def __new__(
        cls, text: str, number: float | None, unit: str = "", ends: tuple[float, float] | None = None
    ) -> Amount:
        made = super().__new__(cls, text)
        made.number, made.unit, made.ends = number, unit, ends
        return made

    def __reduce__(self) -> tuple[type[Amount], tuple[object, ...]]:
        return Amount, (str(self), self.number, self.unit, self.ends)

    def saying(self, text: str, ends: tuple[float, float] | None = None) -> Amount:
        """The same number in other words."""
        return Amount(text, self.number, self.unit, ends or self.ends)


def exact(number: int) -> Amount:
    """96598228992 -> "96,598,228,992"."""
    return Amount(f"{number:,}", number)


def decimal(number: float, form: str, unit: str = "") -> Amount:
    """In Python's notation: ".3f" and the like."""
    return Amount(format(number, form), number, unit)


def short(number: float, digits: int = 2) -> Amount:
    """96598228992 -> "96.60 G", with the largest prefix that leaves at least 1."""
    for size, prefix in _PREFIXES:
        if abs(number) >= size:
            return Amount(f"{number / size:.{digits}f} {prefix}", number)
    return Amount(f"{number:.0f}", number)


def giga(number: float) -> Amount:
    """84492056576 -> "84.49 G"."""
    return Amount(f"{number / 1e9:.2f} G", number)


def size(number: int) -> Amount:
    """2700611775 -> "2.70 GB", as disks and networks count."""
    return Amount(f"{short(number)}B" if number >= 1000 else f"{number} B", number, "B")


DIGITS, FEW_DIGITS = 4, 2  # of a figure with an interval, and of one of too few samples for any


def seconds(number: float, digits: int = DIGITS) -> Amount:
    """0.0370125 -> "37.01 ms", with the largest unit that leaves at least 1."""
    for scale, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(number) >= scale:
            return Amount(f"{_digits(number / scale, digits)} {unit}", number, "s")
    return Amount(f"{_digits(number / 1e-9, digits)} ns", number, "s")


def between(low: float, high: float, show: Callable[[float], str], joint: str = " to ") -> Amount:
    """An interval: "1.34 to 2.147"."""
    first = show(low)
    unit = first.unit if isinstance(first, Amount) else ""
    return Amount(f"{first}{joint}{show(high)}", None, unit, (low, high))


def of_samples(count: int) -> str:
    """What marks a figure of too few samples; "" for 0."""
    return f" of {count} sample{'s' if count > 1 else ''}" if count else ""


def change(ratio: float) -> Amount:
    """1.1234 -> "+12.3 %", the distance of a ratio from 1."""
    return Amount(f"{round(100 * (ratio - 1), 1) + 0.0:+.1f} %", ratio - 1, SHARE)  # + 0.0: no "-0.0"


def rate(number: float, digits: int = DIGITS) -> Amount:
    """59.1342 -> "59.13"; 123456 -> "123,500"."""
    rounded = _rounded(number, digits)
    said = f"{rounded:,.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:.{digits}g}"
    return Amount(said, number)


def _digits(number: float, digits: int) -> str:
    rounded = _rounded(number, digits)
    return f"{rounded:.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:#.{digits}g}"


def _rounded(number: float, digits: int) -> float:
    return float(f"{number:.{digits}g}")


def share(part: float, whole: float) -> Amount:
    """The part in per cent of the whole."""
    of_whole = part / whole if whole else 0.0
    return Amount(f"{100 * of_whole:.1f} %", of_whole, SHARE)


def duration(seconds: float) -> Amount:
    """11520 -> "3.2 h", for what takes long."""
    for length, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return Amount(f"{seconds / length:.1f} {name}", seconds, "s")
    return Amount(f"{seconds:.3g} s", seconds, "s")


def per_cent(part: float) -> Amount:
    """0.1253 -> "12.5 %", and below 1 % with one digit that counts: 0.00014 -> "0.01 %"."""
    per = 100 * part
    return Amount(f"{per:.1f} %" if per >= 1 else f"{per:.1g} %", part, SHARE)


_SCALES = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, **{prefix: float(size) for size, prefix in _PREFIXES}}
_FEW = re.compile(r" of \d+ samples?$")
_READ = re.compile(r"([+-]?\d[\d,]*\.?\d*)(?: ([µnm]s|[kMGTP])?\S*)?(?: ± ([\d.]+) %)?")


def bounds(text: str) -> tuple[float, float] | None:
    """The least and the greatest number that a figure of ours says: "2.00 ms ± 1.0 %" -> (0.00198, 0.00202), "6.06 G"
    -> (6.06e9, 6.06e9); None where it says none, or one of too few samples."""
    found = _READ.match(text)
    if not found or _FEW.search(text):
        return None
    middle = float(found[1].replace(",", "")) * _SCALES.get(found[2], 1.0)
    half = abs(middle) * float(found[3] or 0) / 100
    return middle - half, middle + half
