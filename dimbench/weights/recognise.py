"""Which variant, at which resolution and with which options, a file of weights belongs to: by its keys and shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from math import inf
from pathlib import Path
from typing import Any

from dimbench import presets
from dimbench.backbone import Registered
from dimbench.errors import DimbenchError, UsageError
from dimbench.meta import shapes_only
from dimbench.presets import Preset
from dimbench.weights import checkpoints
from dimbench.weights.catalog import Entry
from dimbench.weights.checkpoints import Shapes, Weights

# Tried besides those that a preset names, in pixels; the commonest first.
RESOLUTIONS = (256, 512, 1024, 1536, 768, 384, 128, 64, 32)
# Options change the position table, label tables and the output layer. Variants differ in more tensors.
_OPTIONAL_TENSORS = 8

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Fit:
    """A network that the weights fit exactly. `any_resolution`: it would be the same at another one; `label_rows` of
    its label tables, None without such a table."""

    preset: Preset
    resolution: int
    options: Options
    label_rows: int | None
    any_resolution: bool


def identified(path: Path) -> tuple[Weights, list[Fit]]:
    """The weights in a file or folder and the variants that they fit; of several sets the first that fits any.

    DimbenchError where none does, or where one holds anything but floats in their place.
    """
    known = {name for preset in presets.all_presets().values() if preset.is_native for name in _shapes(preset) or {}}
    misfit = None
    for weights in checkpoints.read_weights(path, known):
        try:
            fits = recognise(checkpoints.shapes(weights.state))
        except DimbenchError as error:
            misfit = misfit or error
            continue
        with shapes_only():
            network = Registered(fits[0].preset, fits[0].resolution, options=fits[0].options).build()
        checkpoints.check_kinds(weights.state, str(path), network.state_dict())
        return weights, fits
    assert misfit is not None, "there is at least one set of weights"
    raise misfit


def recognise(given: Shapes) -> list[Fit]:
    """The variants that weights of these shapes fit; several where families share a network.

    DimbenchError names the nearest variant and the first differences.
    """
    own = {
        preset.name: (preset, _shapes(preset) or {}) for preset in presets.all_presets().values() if preset.is_native
    }
    alike = sorted(
        ((_distance(given, shapes), preset) for preset, shapes in own.values() if shapes.keys() == given.keys()),
        key=lambda pair: pair[0],
    )
    for distance, group in groupby(alike, key=lambda pair: pair[0]):
        if distance <= _OPTIONAL_TENSORS and (fits := [fit for _, p in group if (fit := _fit(p, given))]):
            return fits
    nearest, shapes = min(own.values(), key=lambda pair: _distance(given, pair[1]))
    raise DimbenchError(
        f"these weights fit no registered model; the nearest is {nearest.name}: {checkpoints.mismatches(shapes, given)}"
    )


def published(fits: Iterable[Fit], given: Shapes) -> list[Entry]:
    """The published files that have exactly these shapes."""
    return [
        Entry(fit.preset.name, checkpoint)
        for fit in fits
        for checkpoint in fit.preset.checkpoints
        if not checkpoint.ships and _shapes(fit.preset, checkpoint.resolution, checkpoint.config) == given
    ]


def expected(entry: Entry) -> Shapes:
    """The shapes that a published file of weights must have."""
    if entry.checkpoint is None:
        return {}
    return _shapes(presets.find(entry.owner), entry.checkpoint.resolution, entry.checkpoint.config) or {}


def chosen(entries: list[Entry], name: str) -> Entry | None:
    """The one of these files that is called `name`, here or by its authors; None where that is not one."""
    named = [entry for entry in entries if name in (entry.name, entry.official_name)]
    return named[0] if len(named) == 1 else None


def _fit(preset: Preset, given: Shapes) -> Fit | None:
    """The options and the resolution that make this variant's shapes the given ones."""
    rows = _label_rows(preset, given)
    options: dict[str, Any] = {}
    for choices in (_label_options(preset, rows), _output_options(preset)):
        options, _ = _best(({**options, **choice} for choice in choices), lambda o: _shapes(preset, options=o), given)
    named = (checkpoint.resolution for checkpoint in preset.checkpoints)
    resolutions = dict.fromkeys((preset.resolution, *named, *RESOLUTIONS))
    resolution, distance = _best(resolutions, lambda r: _shapes(preset, r, options), given)
    if distance:
        return None
    twice = _shapes(preset, 2 * resolution, options)
    return Fit(preset, resolution, options, rows, any_resolution=twice == given)


def _label_rows(preset: Preset, given: Shapes) -> int | None:
    """How many rows the label tables have: those tensors that grow with the number of classes."""
    own, classes = _shapes(preset), _default(preset, "num_classes")
    wider = _shapes(preset, options={"num_classes": classes + 1}) if classes else None
    if own is None or wider is None:
        return None
    return next((given[name][0] for name, shape in wider.items() if shape != own[name]), None)


def _label_options(preset: Preset, rows: int | None) -> list[Options]:
    """The ways to read so many rows: as all classes and one for "no class", or as classes alone."""
    if rows is None:
        return [{}]
    alone = {"num_classes": rows, "label_dropout": -1}
    if rows in (1, _default(preset, "num_classes")):
        return [{}, alone]
    return [{}, {"num_classes": rows - 1}, alone]


def _output_options(preset: Preset) -> list[Options]:
    learned = _default(preset, "learn_sigma")
    return [{}] if learned is None else [{}, {"learn_sigma": not learned}]


def _default(preset: Preset, setting: str) -> Any:
    return getattr(Registered(preset, preset.resolution).config, setting, None)


def _best(choices: Iterable[Any], build: Any, given: Shapes) -> tuple[Any, float]:
    """The first choice whose shapes differ in the fewest tensors, and in how many."""
    best, least = None, inf
    for choice in choices:
        distance = _distance(given, build(choice))
        if best is None or distance < least:
            best, least = choice, distance
        if not distance:
            break
    return best, least


def _distance(given: Shapes, other: Shapes | None) -> float:
    """The number of tensors that are missing, unexpected or of another shape."""
    if other is None:
        return inf
    return sum(given.get(name) != other.get(name) for name in given.keys() | other.keys())


def _shapes(preset: Preset, resolution: int | None = None, options: Options | None = None) -> Shapes | None:
    """The tensors of the variant's network; None where the family has no such one."""
    return _built(preset.name, resolution or preset.resolution, tuple(sorted((options or {}).items())))


@cache
def _built(name: str, resolution: int, options: tuple[tuple[str, Any], ...]) -> Shapes | None:
    try:
        with shapes_only():
            model = Registered(presets.find(name), resolution, options=dict(options)).build()
    except UsageError:
        return None
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
