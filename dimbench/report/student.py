"""Student's t distribution for whole degrees of freedom. Standard library only."""

from __future__ import annotations

import math


def inside(t: float, freedom: int) -> float:
    """P(|T| < t): Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4."""
    angle = math.atan2(abs(t), math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(1, freedom // 2 + 1):
        total += term
        term *= cosine**2 * (2 * k / (2 * k + 1) if odd else (2 * k - 1) / (2 * k))
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total


def quantile(level: float, freedom: int) -> float:
    """The t with P(|T| < t) = level, by bisection to the last bit."""
    low, high = 0.0, 1.0
    while inside(high, freedom) < level:
        high *= 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if inside(middle, freedom) < level else (low, middle)
    return high
