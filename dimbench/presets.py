"""The registry's entries: presets/*.toml read into records. Standard library only."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import dimbench
from dimbench import names
from dimbench.errors import UsageError


@dataclass(frozen=True)
class Claim:
    """A figure as its source prints it; `rule` names the way of counting that the source used, `params_rule` which
    parameters it means: "trained", those left where branches are "merged", or "all" with the fixed tables."""

    resolution: int
    params: str
    gflops: str
    rule: str
    params_rule: str = "trained"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A file that its authors published. `file` is its name here, which is theirs where no other file has it, else
    theirs is `original`; `url` its address, `page` the web page that offers it ("": unknown); `size` in bytes (0:
    unknown)."""

    file: str
    original: str = ""
    url: str = ""
    page: str = ""
    size: int = 0
    layout: str = ""


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Published):
    """A file of weights. `config` holds what it needs beyond the variant's own settings; `fid` is what its authors
    print for it on `data`, drawn as `sampling` says (sampler, steps, cfg, autoencoder), `also` what else they print
    there, and `source` where; `tag` tells files of one variant apart. `ships`: it is in the package.
    """

    resolution: int
    ships: bool = False
    data: str = ""
    tag: str = ""
    fid: str = ""
    also: Mapping[str, str] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A published FID of 50,000 images and how it was drawn; the fields are a Checkpoint's. `model` is the variant's
    name, `files` the published files of these weights, any of which will do; without one, nobody published them."""

    name: str
    model: str
    resolution: int
    data: str
    fid: str
    also: Mapping[str, str]
    sampling: Mapping[str, Any]
    source: str
    files: tuple[Checkpoint, ...]


@dataclass(frozen=True)
class Shared:
    """Published files that belong to no family but together to one purpose, which `says` names."""

    name: str
    says: str
    files: tuple[Published, ...]


@dataclass(frozen=True)
class Preset:
    """One variant of a family. `resolution` is in pixels, `latent_stride` pixels of an image per side of a latent;
    `counted` our own parameters and MACs at that resolution."""

    name: str
    label: str
    family: str
    paper: str
    arxiv: str
    year: int
    backbone: str
    resolution: int
    latent_stride: int
    config: Mapping[str, Any]
    diffusion: Mapping[str, Any]
    counted: Mapping[str, int]
    claims: tuple[Claim, ...]
    checkpoints: tuple[Checkpoint, ...]
    recipes: tuple[Recipe, ...]


def folder() -> Path:
    """Where the preset files lie: beside the package in a checkout, inside it in a wheel."""
    return next(place for root in dimbench.__path__ if (place := Path(root) / "presets").is_dir())


@cache
def all_presets() -> dict[str, Preset]:
    """Every preset by name, families in alphabetical order, variants as their file lists them."""
    return {preset.name: preset for file in sorted(folder().glob("*.toml")) for preset in _read(file)}


def _read(file: Path) -> list[Preset]:
    family = tomllib.loads(file.read_text(encoding="utf-8"))
    usual = family.get("sampling", {})
    presets = []
    for name, variant in family["variants"].items():
        resolution = variant.get("resolution", family["resolution"])
        checkpoints = [_checkpoint(entry, usual) for entry in variant.get("checkpoints", ())]
        presets.append(
            Preset(
                name=name,
                label=variant["label"],
                family=family["family"],
                paper=family["paper"],
                arxiv=family["arxiv"],
                year=family["year"],
                backbone=family["backbone"],
                resolution=resolution,
                latent_stride=variant.get("latent_stride", family["latent_stride"]),
                config=variant["config"],
                diffusion={**family["diffusion"], **variant.get("diffusion", {})},
                counted=variant["counted"],
                claims=tuple(Claim(**claim) for claim in variant.get("claims", ())),
                checkpoints=tuple(checkpoints),
                recipes=tuple(_recipes(name, resolution, usual, checkpoints, variant.get("recipes", ()))),
            )
        )
    return presets


def _checkpoint(entry: Mapping[str, Any], usual: Mapping[str, Any]) -> Checkpoint:
    sampling = {**usual, **entry.get("sampling", {})} if "fid" in entry else {}
    return Checkpoint(**{**entry, "sampling": sampling})


def _recipes(
    model: str,
    resolution: int,
    usual: Mapping[str, Any],
    checkpoints: Sequence[Checkpoint],
    further: Sequence[Mapping[str, Any]],
) -> list[Recipe]:
    """One for each checkpoint with a published FID (one for all where they are the same), then the further ones."""
    shared = ("resolution", "data", "tag", "fid", "also", "sampling", "source")
    entries: list[Mapping[str, Any]] = [
        {"file": c.file, **{k: getattr(c, k) for k in shared}} for c in checkpoints if c.fid
    ]
    found: dict[str, Recipe] = {}
    for entry in (*entries, *further):
        pixels = entry.get("resolution", resolution)
        sampling = {**usual, **entry.get("sampling", {})}
        name = "-".join(filter(None, (model, str(pixels), entry.get("tag", ""), f"cfg{sampling['cfg']:g}")))
        files = tuple(c for c in checkpoints if c.file == entry.get("file"))
        earlier = found[name].files if name in found else ()
        found[name] = Recipe(
            name=name,
            model=model,
            resolution=pixels,
            data=entry.get("data", "ImageNet"),
            fid=entry["fid"],
            also=entry.get("also", {}),
            sampling=sampling,
            source=entry["source"],
            files=(*earlier, *files),
        )
    return list(found.values())


def recipes() -> dict[str, Recipe]:
    """Every published FID by its name, in the order of the presets."""
    return {recipe.name: recipe for preset in all_presets().values() for recipe in preset.recipes}


def find_recipe(name: str) -> Recipe:
    """The recipe called `name`; case, slashes and dashes are forgiven. UsageError names what is near."""
    return names.find(name, recipes(), "recipe", "see `dimbench recipes`")


def family_label(family: str) -> str:
    """How the field writes a family, from the label of its first variant: "DiT-S/2" is of DiT."""
    first = next(preset for preset in all_presets().values() if preset.family == family)
    return first.label.split("/")[0].rpartition("-")[0]


@cache
def shared_files() -> dict[str, Shared]:
    """What several families need besides their weights, by name, as presets/shared/files.toml lists it."""
    listed = tomllib.loads((folder() / "shared" / "files.toml").read_text(encoding="utf-8"))
    return {
        name: Shared(name, group["says"], tuple(Published(**entry) for entry in group["files"]))
        for name, group in listed.items()
    }


def find(name: str) -> Preset:
    """The preset called `name`; case, slashes and dashes are forgiven. UsageError names what is near."""
    return names.find(name, all_presets(), "model", "see `dimbench list`")


def match(patterns: Sequence[str]) -> list[Preset]:
    """The presets of several names or wildcards, each once, in the order given. UsageError for one without a match."""
    chosen: dict[str, Preset] = {}
    for pattern in patterns:
        found = _wildcard(pattern) if any(letter in pattern for letter in "*?[") else [find(pattern)]
        if not found:
            raise UsageError(f"no model matches {pattern!r}; see `dimbench list`")
        chosen.update((preset.name, preset) for preset in found)
    return list(chosen.values())


def _wildcard(pattern: str) -> list[Preset]:
    """The presets whose names match as they are written, or else, where none does, without case and separators."""
    presets = all_presets()
    as_written = [preset for name, preset in presets.items() if fnmatchcase(name, pattern.lower())]
    return as_written or [p for name, p in presets.items() if fnmatchcase(names.folded(name), names.folded(pattern))]
