"""Numbers to text; the only place where units change."""

from __future__ import annotations

_PREFIXES = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


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


def seconds(number: float) -> str:
    """0.0370125 -> "37.01 ms", with four digits and the largest unit that leaves at least 1."""
    for scale, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(number) >= scale:
            return f"{_four_digits(number / scale)} {unit}"
    return f"{_four_digits(number / 1e-9)} ns"


def rate(number: float) -> str:
    """59.1342 -> "59.13", with four digits or all before the point."""
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"


def _four_digits(number: float) -> str:
    return f"{number:.0f}" if abs(number) >= 1000 else f"{number:#.4g}"


def share(part: float, whole: float) -> str:
    """The part in per cent of the whole."""
    return f"{100 * part / whole:.1f} %" if whole else "0.0 %"
