"""Settings that no network has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from dimbench.errors import UsageError

_CHECKED_BY_FAMILIES = "input_size"  # they know what has to divide it
_MAY_BE_BELOW_0 = ("label_dropout", "class_dropout_prob")  # the authors' word for no label that means "no class"
_WORDS = {int: "whole number", float: "finite number", str: "text", bool: "true or false", NoneType: "none"}


def check_types(config: Any) -> None:
    """Raise UsageError for a field of a family's Config whose value is not of its type, or no finite number."""
    for name, kind in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if not _is_one(value, kind):
            raise UsageError(f"{name} {value!r} is not understood; give {_called(kind)}")


def _is_one(value: Any, kind: Any) -> bool:
    if get_origin(kind) is UnionType:
        return any(_is_one(value, each) for each in get_args(kind))
    if inner := get_args(kind):
        return isinstance(value, (tuple, list)) and all(_is_one(each, inner[0]) for each in value)
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    return isinstance(value, kind)


def _called(kind: Any) -> str:
    if get_origin(kind) is UnionType:
        return " or ".join(_called(each) for each in get_args(kind))
    if inner := get_args(kind):
        return f"a list of {_WORDS[inner[0]]}s"
    return _WORDS[kind] if kind in (bool, NoneType) else f"a {_WORDS[kind]}"


def check_sizes(config: Any, or_none: Sequence[str] = ()) -> None:
    """Raise UsageError for a field of a family's Config that is not of its type; for a whole number below 1, or below 0
    in those of `or_none`, where 0 means none; for a share that is dropped outside 0 to 1; and for an mlp_ratio that
    leaves no hidden features."""
    check_types(config)
    for field in fields(config):
        value = getattr(config, field.name)
        numbers = value if isinstance(value, (tuple, list)) else [value]
        least = 0 if field.name in or_none else 1
        checked = "int" in str(field.type) and field.name != _CHECKED_BY_FAMILIES and value is not None
        if checked and min(numbers, default=least) < least:
            several = "numbers of " if len(numbers) > 1 else ""
            raise UsageError(f"{field.name} {value} is not understood; give {several}at least {least}")
        if "drop" in field.name and (value > 1 or (value < 0 and field.name not in _MAY_BE_BELOW_0)):
            raise UsageError(f"{field.name} {value:g} is no share of what is dropped; give 0 to 1")
        if field.name == "mlp_ratio" and value * _width(config) < 2:
            raise UsageError(f"mlp_ratio {value:g} leaves a width of {_width(config)} no hidden features; give more")


def _width(config: Any) -> int:
    width = config.embed_dim if hasattr(config, "embed_dim") else config.hidden_size
    return min(width, default=1) if isinstance(width, (tuple, list)) else width
