"""Sizes that no network has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from dimbench.errors import UsageError

_CHECKED_BY_FAMILIES = "input_size"  # they know what has to divide it


def check_sizes(config: Any, or_none: Sequence[str] = ()) -> None:
    """Raise UsageError for a whole number below 1 among the fields of a family's Config, or below 0 in those of
    `or_none`, where 0 means none; and for an mlp_ratio that is not above 0."""
    for field in fields(config):
        value = getattr(config, field.name)
        numbers = value if isinstance(value, (tuple, list)) else [value]
        least = 0 if field.name in or_none else 1
        checked = "int" in str(field.type) and field.name != _CHECKED_BY_FAMILIES and value is not None
        if checked and min(numbers, default=least) < least:
            several = "numbers of " if len(numbers) > 1 else ""
            raise UsageError(f"{field.name} {value} is not understood; give {several}at least {least}")
        if field.name == "mlp_ratio" and value <= 0:
            raise UsageError(f"mlp_ratio {value:g} is not understood; give a number above 0")
