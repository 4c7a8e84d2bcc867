"""Numbers to text; the only place where units change."""

from __future__ import annotations

import re

NOT_MEASURED = "not measured"
NOT_COUNTED = "not counted"

_PREFIXES = ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


def exact(number: int) -> str:
    """96598228992 -> "96,598,228,992"."""
    return f"{number:,}"


def short(number: float, digits: int = 2) -> str:
    """96598228992 -> "96.60 G", with the largest prefix that leaves at least 1."""
    for size, prefix in _PREFIXES:
        if abs(number) >= size:
            return f"{number / size:.{digits}f} {prefix}"
    return f"{number:.0f}"


def giga(number: float) -> str:
    """84492056576 -> "84.49 G"."""
    return f"{number / 1e9:.2f} G"


def size(number: int) -> str:
    """2700611775 -> "2.70 GB", as disks and networks count."""
    return f"{short(number)}B" if number >= 1000 else f"{number} B"


DIGITS, FEW_DIGITS = 4, 2  # of a figure with an interval, and of one of too few samples for any


def seconds(number: float, digits: int = DIGITS) -> str:
    """0.0370125 -> "37.01 ms", with the largest unit that leaves at least 1."""
    for scale, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(number) >= scale:
            return f"{_digits(number / scale, digits)} {unit}"
    return f"{_digits(number / 1e-9, digits)} ns"


def of_samples(count: int) -> str:
    """What marks a figure of too few samples; "" for 0."""
    return f" of {count} sample{'s' if count > 1 else ''}" if count else ""


def change(ratio: float) -> str:
    """1.1234 -> "+12.3 %", the distance of a ratio from 1."""
    return f"{round(100 * (ratio - 1), 1) + 0.0:+.1f} %"  # + 0.0: no "-0.0"


def rate(number: float, digits: int = DIGITS) -> str:
    """59.1342 -> "59.13"; 123456 -> "123,500"."""
    rounded = _rounded(number, digits)
    return f"{rounded:,.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:.{digits}g}"


def _digits(number: float, digits: int) -> str:
    rounded = _rounded(number, digits)
    return f"{rounded:.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:#.{digits}g}"


def _rounded(number: float, digits: int) -> float:
    return float(f"{number:.{digits}g}")


def share(part: float, whole: float) -> str:
    """The part in per cent of the whole."""
    return f"{100 * part / whole:.1f} %" if whole else "0.0 %"


def duration(seconds: float) -> str:
    """11520 -> "3.2 h", for what takes long."""
    for length, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.1f} {name}"
    return f"{seconds:.3g} s"


def per_cent(part: float) -> str:
    """0.1253 -> "12.5 %", and below 1 % with one digit that counts: 0.00014 -> "0.01 %"."""
    per = 100 * part
    return f"{per:.1f} %" if per >= 1 else f"{per:.1g} %"


_SCALES = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, **{prefix: float(size) for size, prefix in _PREFIXES}}
_READ = re.compile(r"([+-]?\d[\d,]*\.?\d*)(?: ([µnm]s|[kMGTP])?\S*)?(?: ± ([\d.]+) %)?")


def bounds(text: str) -> tuple[float, float] | None:
    """The least and the greatest number that a figure of ours says: "2.00 ms ± 1.0 %" -> (0.00198, 0.00202), "6.06 G"
    -> (6.06e9, 6.06e9); None where it says none."""
    found = _READ.match(text)
    if not found:
        return None
    middle = float(found[1].replace(",", "")) * _SCALES.get(found[2], 1.0)
    half = abs(middle) * float(found[3] or 0) / 100
    return middle - half, middle + half
