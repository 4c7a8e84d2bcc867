"""Published FIDs with what they cost, taken from the papers' own tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dimbench import presets
from dimbench.papers import printed as tables
from dimbench.papers.comparable import benchmark_of
from dimbench.papers.printed import PrintedRow

# The conditions under which most papers compare: no guidance, 400K steps of batch 256.
LIKE = {"training": "400K x 256", "cfg": 1.0}


@dataclass(frozen=True)
class PublishedFid:
    """A FID of 50,000 images on ImageNet at `resolution`; `conditions` as the table states them."""

    model: str
    resolution: int
    fid: float
    conditions: Mapping[str, Any]
    checkpoint: str

    @property
    def like(self) -> bool:
        return all(self.conditions.get(name) == value for name, value in LIKE.items())

    @property
    def passes(self) -> int | None:
        """Passes of the network per image; None where its sampler chooses them or the number is not published."""
        known = {c.file: c.sampling for c in presets.find(self.model).checkpoints}.get(self.checkpoint, {})
        drawn = {**known, **self.conditions}
        steps = drawn.get("steps")
        if not steps or drawn.get("sampler") not in _CALLS:
            return None
        calls = _CALLS[drawn["sampler"]](steps)
        return calls * (2 if drawn["cfg"] > 1 else 1)


# Network calls for so many steps, where the sampler does not choose them itself.
_CALLS = {
    "ddpm": lambda steps: steps,
    "sde-euler": lambda steps: steps,
    "dpm-solver++": lambda steps: steps,
    "heun2": lambda steps: 2 * (steps - 1),
}


def fids(resolution: int = 256) -> list[PublishedFid]:
    """What each family's own tables print for its models on ImageNet, each once."""
    found: dict[tuple[str, float, str | None], PublishedFid] = {}
    for row, fid in _own_rows():
        stated = row.conditions
        usual = "autoencoder" not in stated  # not one of a comparison of decoders
        if stated.get("data") == "ImageNet" and row.resolution == resolution and "cfg" in stated and usual:
            entry = PublishedFid(row.model, resolution, fid, stated, row.checkpoint)
            found.setdefault((row.model, fid, stated.get("training")), entry)
    return list(found.values())


def _own_rows() -> Iterator[tuple[PrintedRow, float]]:
    """Rows of a family's own tables about its own models, with their FID."""
    for table in tables.all_tables().values():
        for row in table.rows:
            if row.model and not table.survey and table.name.split("-")[0] == presets.find(row.model).family:
                for index, column in enumerate(table.columns):
                    if column.name == "fid" and (figure := table.figure(row, index)):
                        yield row, float(figure.value)


@dataclass(frozen=True)
class BestFid:
    """The lowest FID of 50,000 images that is published of a model on `benchmark`, such as "imagenet-256", and how it
    was drawn."""

    fid: float
    benchmark: str
    how: str

    @property
    def says(self) -> str:
        return f"{self.benchmark}, {self.how}"


def best_fid(model: str, benchmark: str | None = None) -> BestFid | None:
    """That of a preset, on any benchmark where none is given; None where none is published."""
    if model not in presets.all_presets():
        return None
    found = [
        BestFid(float(recipe.fid), benchmark_of(recipe), _drawn(recipe.sampling))
        for recipe in presets.recipes().values()
        if recipe.model == model
    ]
    side = presets.find(model).resolution
    found += [
        BestFid(entry.fid, f"imagenet-{side}", _drawn(entry.conditions)) for entry in fids(side) if entry.model == model
    ]
    wanted = [entry for entry in found if benchmark in (None, entry.benchmark)]
    return min(wanted, key=lambda entry: entry.fid, default=None)


def _drawn(how: Mapping[str, Any]) -> str:
    sampler = f"{how['sampler']} {how['steps']}, " if {"sampler", "steps"} <= how.keys() else ""
    return ", ".join([f"{sampler}cfg {how['cfg']:g}", *how.get("with", ())])
