"""What pictures and pages call a model, and the family whose colour it has."""

from __future__ import annotations

from collections.abc import Iterable

from dimbench import presets
from dimbench.presets import Preset


def families(others: Iterable[str] = ()) -> list[str]:
    """Every family in the order of its year, so that each keeps its colour in every picture; then the others."""
    ordered = sorted(presets.all_presets().values(), key=lambda preset: preset.year)
    known = [presets.family_label(family) for family in dict.fromkeys(preset.family for preset in ordered)]
    return list(dict.fromkeys([*known, *others]))


def preset(model: str) -> Preset | None:
    """That of a record's model; None where it is none, or is known to nobody here."""
    return presets.all_presets().get(presets.split(model)[0])


def label(model: str) -> str:
    """How the field writes it, with its settings; what is no preset as it is called."""
    known = preset(model)
    return known.label + model.removeprefix(known.name) if known else model


def family(model: str) -> str:
    """How the field writes the family: the label up to its size; what is no preset is a family of its own."""
    known = preset(model)
    return presets.family_label(known.family) if known else presets.split(model)[0]


def size(model: str) -> str:
    """The label without its family: "XL/2"; of what is no preset the name without its place."""
    if preset(model) is None:
        return model.rpartition(":")[2]
    return label(model).removeprefix(family(model)).lstrip("-, ") or label(model)
