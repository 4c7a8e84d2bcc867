"""Where preset files lie, ours and the user's, and what stands in them, checked. Standard library only."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import dimbench
from dimbench.errors import DimbenchError, UsageError, reason
from dimbench.presets import Checkpoint, Claim, Preset, Recipe

OWN = "dimbench.toml"  # in the current folder
ENVIRONMENT = "DIMBENCH_PRESETS"
GROUP = "dimbench.presets"  # of entry points, whose objects are files, folders or the modules beside them

_VARIANT = {
    "label": str, "config": dict, "conditions": dict, "resolution": int, "latent_stride": int, "diffusion": dict,
    "sampling": dict, "counted": dict, "claims": list, "checkpoints": list, "recipes": list, "inputs": list,
}  # fmt: skip
_FAMILY = {
    "family": str, "paper": str, "arxiv": str, "year": int, "backbone": str, "resolution": int, "latent_stride": int,
    "latent": dict, "diffusion": dict, "sampling": dict, "text_encoders": dict, "inputs": list, "variants": dict,
    "decided_by_values": str,
}  # fmt: skip
# A table of one process may hold what only another reads: a family's are those of its variants too.
_DIFFUSION = {
    "process": str, "sampler": str, "path": str, "prediction": str, "noise_schedule": str, "grid": str,
    "diffusion_steps": int, "noise_at": int, "guided_channels": int, "null_label": int, "latents_per_token": int,
    "many_steps": int, "most_tokens": int, "strided": bool, "clip": bool, "sigma_small": bool, "shift_training": bool,
    "cosine": bool, "clamp": float, "stop": float, "shift": float, "terminal": float, "noise_scale": float,
    "time_scale": float, "mean": float, "std": float, "apart": float, "power": float, "shift_by_steps": list,
    "shift_by_tokens": list, "at_few_steps": list, "guided_interval": dict, "upsampled": dict,
}  # fmt: skip
_INTERVAL = {"low": float, "high": float, "ends": bool}
PROCESSES: dict[str, Mapping[str, Any]] = {
    "gaussian": {"sampler": "ddpm"},
    "flow": {"path": "linear", "prediction": "velocity", "sampler": "heun2"},
    "rectified-flow": {"noise_at": 1, "grid": "steps", "sampler": "euler"},
    "stable-diffusion": {"sampler": "dpm-solver++"},
    "variance-preserving": {"sampler": "euler-maruyama"},
    "mean-flow": {"sampler": "average"},
    "improved-mean-flow": {"sampler": "average"},
}
"""What a network may have been trained on, in a word for [diffusion] and --process, with what that means where nothing
else is said."""
RECTIFIED = (
    "clamp", "grid", "stop", "shift", "shift_by_steps", "terminal", "noise_scale", "time_scale", "mean", "std",
    "shift_training", "cosine",
)  # fmt: skip
"""Settings that rectified-flow reads and flow does not, though both are flows."""
_SAMPLING = {"sampler": str, "steps": int, "cfg": float, "autoencoder": str, "embedded_guidance": float, "with": list}
_SAMPLED = ("sampler", "steps", "cfg")  # what whoever repeats a FID must know
_RECIPE = {"tag", "fid", "also", "sampling", "source", "file", "data", "resolution"}
_ENTRY: dict[str, type] = {
    f.name: {"int": int, "bool": bool, "str": str}.get(str(f.type), dict)
    for record in (Claim, Checkpoint)
    for f in fields(record)
}
_NUMBER = re.compile(r"\d+(\.\d+)?")
_IN_PATTERNS = "*?[]:,"  # what has a meaning of its own where networks are named
_KINDS = {
    str: "a text", int: "a whole number", float: "a number", bool: "true or false", dict: "a table", list: "a list",
}  # fmt: skip


def folder() -> Path:
    """Where our own lie: beside the package in a checkout, inside it in a wheel."""
    return next(place for root in dimbench.__path__ if (place := Path(root) / "presets").is_dir())


def places() -> list[Path]:
    """Ours, then the user's: dimbench.toml in the current folder, what $DIMBENCH_PRESETS names, what installed packages
    offer. UsageError for one that is named and not there."""
    found = [folder()]
    if Path(OWN).is_file():
        found.append(Path(OWN))
    for text in filter(None, os.environ.get(ENVIRONMENT, "").split(os.pathsep)):
        if not Path(text).exists():
            raise UsageError(f"there are no presets at {text}; give a .toml file or a folder of such, or leave it out")
        found.append(Path(text))
    found += map(_offered, entry_points(group=GROUP))
    return list(dict.fromkeys(path.resolve() for path in found))


def _offered(point: EntryPoint) -> Path:
    """What an installed package offers: a path, or the folder of a module. DimbenchError where it offers none."""
    package = point.dist.name if point.dist else "an installed package"
    try:
        offered = point.load()
        if isinstance(offered, ModuleType):
            offered = offered.__path__[0] if hasattr(offered, "__path__") else Path(offered.__file__ or "").parent
        place = Path(offered)
    except Exception as error:  # whatever a module of others does when it is imported
        why = reason(error)
    else:
        if place.exists():
            return place
        why = f"there is no {place}"
    raise DimbenchError(
        f"{package} offers presets by the entry point {point.name} = {point.value}, which gives none ({why}); let it "
        "name a module beside .toml files, or a path, or uninstall the package"
    )


def files(kind: str = "") -> list[Path]:
    """All .toml files of a kind: families, or those in the folders "tables" or "sweeps" beside them."""
    found: list[Path] = []
    for place in places():
        if place.is_file() and not kind:
            found.append(place)
        else:
            found += sorted(((place.parent if place.is_file() else place) / kind).glob("*.toml"))
    return list(dict.fromkeys(found))


def load(file: Path) -> dict[str, Any]:
    """What the file holds. DimbenchError where it is no TOML."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DimbenchError(f"cannot read the presets in {file} ({reason(error)}); make it readable") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DimbenchError(f"{file} is no TOML file: {error}; mend it there") from None


def read_all() -> dict[str, Preset]:
    """Every preset by name. DimbenchError for a faulty file, and for a name that two files have."""
    known: dict[str, Preset] = {}
    homes: dict[str, Path] = {}
    for file in files():
        for preset in read(file):
            if preset.name in known:
                raise DimbenchError(f"{file} and {homes[preset.name]} both have a variant {preset.name}; rename one")
            known[preset.name], homes[preset.name] = preset, file
    return known


def read(file: Path) -> list[Preset]:
    """The presets of a file. DimbenchError with all its faults."""
    family = load(file)
    if faults := list(_faults(family)):
        raise DimbenchError(f"{file} is no preset file: {'; '.join(faults)}; mend it there")
    return [_preset(name, variant, family, file) for name, variant in family["variants"].items()]


def _faults(family: Mapping[str, Any]) -> Iterator[str]:
    yield from mistyped(family, _FAMILY, "")
    yield from (f"it has no {name}" for name in ("backbone", "variants") if name not in family)
    yield from _sizes(family, "")
    yield from _unknown_network(family.get("backbone"))
    variants = family.get("variants")
    if not isinstance(variants, dict):
        return
    if not variants:
        yield "variants is empty"
    for name, variant in variants.items():
        where = f"variant {name}: "
        if not isinstance(variant, dict):
            yield f"{where}it is no table"
            continue
        if set(name) & set(_IN_PATTERNS):
            yield f"{where}its name holds one of {' '.join(_IN_PATTERNS)}"
        yield from mistyped(variant, _VARIANT, where)
        yield from _sizes(variant, where)
        yield from _entries(variant, "claims", _names_of(Claim), where)
        yield from _entries(variant, "checkpoints", _names_of(Checkpoint), where)
        yield from _entries(variant, "recipes", (_RECIPE, {"fid", "source"}), where)
        yield from _drawn(variant, family.get("sampling", {}), where)
        yield from _unlike_a_process(variant.get("diffusion", {}), family.get("diffusion", {}), where)


def _unlike_a_process(own: Any, usual: Any, where: str) -> Iterator[str]:
    """Faults of the table that says what a variant was trained on."""
    table = {**usual, **own} if isinstance(usual, dict) and isinstance(own, dict) else {}
    if not table:
        return
    yield from mistyped(table, _DIFFUSION, f"{where}diffusion: ")
    process, interval = table.get("process"), table.get("guided_interval")
    if isinstance(process, str) and process not in PROCESSES:
        yield f"{where}diffusion: process {process!r} is unknown (known are {', '.join(PROCESSES)})"
    if process is None:
        yield f"{where}diffusion has no process"
    for each in (usual, own):
        if each.get("process") == "flow" and (unread := [name for name in each if name in RECTIFIED]):
            yield f"{where}diffusion: process flow does not read {', '.join(unread)}, which rectified-flow does"
    for name, least in (("guided_channels", 0), ("null_label", 0), ("diffusion_steps", 1)):
        if isinstance(value := table.get(name), int) and value < least:
            yield f"{where}diffusion: {name} is {value}, which has to be {least} or more"
    if isinstance(interval, dict):
        yield from mistyped(interval, _INTERVAL, f"{where}guided_interval: ")
        yield from (f"{where}guided_interval has no {name}" for name in ("low", "high") if name not in interval)


def completed(table: Mapping[str, Any]) -> dict[str, Any]:
    """A [diffusion] table with what its process means where it says nothing else."""
    return {**PROCESSES.get(table.get("process", ""), {}), **table}


def _drawn(variant: Mapping[str, Any], usual: Any, where: str) -> Iterator[str]:
    """Faults of how images are drawn, and of published FIDs that do not say it whole."""
    entries = [entry for kind in ("checkpoints", "recipes") for entry in _tables(variant.get(kind))]
    told = [
        ("", variant.get("sampling", {})),
        *(("a fid's ", each.get("sampling", {})) for each in entries if "fid" in each),
    ]
    for whose, own in told:
        table = {**usual, **own} if isinstance(usual, dict) and isinstance(own, dict) else {}
        yield from mistyped(table, _SAMPLING, f"{where}{whose}sampling: ")
        if whose:
            yield from (f"{where}{whose}sampling has no {name}" for name in _SAMPLED if name not in table)
    for fid in (entry["fid"] for entry in entries if "fid" in entry):
        if isinstance(fid, str) and not _NUMBER.fullmatch(fid):
            yield f"{where}fid {fid!r} is no number"


def _unknown_network(backbone: Any) -> Iterator[str]:
    if isinstance(backbone, str) and ":" not in backbone and backbone not in _networks():
        yield f"backbone {backbone!r} is no family of dimbench; FILE.py:NAME or PACKAGE.MODULE:NAME names another"


@cache
def _networks() -> set[str]:
    """The families of models/."""
    return {file.stem for file in (Path(dimbench.__file__).parent / "models").glob("[a-z]*.py")}


def _sizes(table: Mapping[str, Any], where: str) -> Iterator[str]:
    for name in ("resolution", "latent_stride"):
        if isinstance(size := table.get(name), int) and size < 1:
            yield f"{where}{name} is {size}, which is below 1"


def _tables(entries: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def mistyped(table: Mapping[str, Any], known: Mapping[str, type], where: str) -> Iterator[str]:
    """Faults of entries that are not among the known, or not of their types."""
    for name, value in table.items():
        if name not in known:
            yield f"{where}{name!r} is unknown (known are {', '.join(known)})"
        elif not isinstance(value, (int, float) if known[name] is float else known[name]) or (
            isinstance(value, bool) and known[name] is not bool
        ):
            yield f"{where}{name} is no {_KINDS[known[name]].removeprefix('a ')}"


def _entries(variant: Mapping[str, Any], kind: str, names: tuple[set[str], set[str]], where: str) -> Iterator[str]:
    """Faults of the tables in a list; `names` are those an entry may have, and those it must."""
    may, must = names
    entries = variant.get(kind, ())
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict):
            yield f"{where}{kind} holds something that is no table"
            continue
        yield from (f"{where}{kind} has an unknown {name!r}" for name in sorted(entry.keys() - may))
        yield from mistyped({n: v for n, v in entry.items() if n in may}, _ENTRY, f"{where}{kind}: ")
        yield from (f"{where}{kind} has an entry without {name}" for name in sorted(must - entry.keys()))


def _names_of(record: type) -> tuple[set[str], set[str]]:
    """The fields that a record may have, and those it must."""
    needed = {f.name for f in fields(record) if f.default is MISSING and f.default_factory is MISSING}
    return {f.name for f in fields(record)}, needed


def _preset(name: str, variant: Mapping[str, Any], family: Mapping[str, Any], file: Path) -> Preset:
    resolution = variant.get("resolution", family.get("resolution", 256))
    usual = family.get("sampling", {})
    checkpoints = [_checkpoint(entry, usual) for entry in variant.get("checkpoints", ())]
    return Preset(
        name=name,
        label=variant.get("label", name),
        family=family.get("family", file.stem),
        paper=family.get("paper", ""),
        arxiv=family.get("arxiv", ""),
        year=family.get("year", 0),
        backbone=_backbone(family["backbone"], file),
        resolution=resolution,
        latent_stride=variant.get("latent_stride", family.get("latent_stride", 8)),
        latent=family.get("latent", {}),
        config=variant.get("config", {}),
        conditions=variant.get("conditions", {}),
        diffusion=completed({**family.get("diffusion", {}), **variant.get("diffusion", {})}),
        sampling={**usual, **variant.get("sampling", {})},
        text_encoders=family.get("text_encoders", {}),
        counted=variant.get("counted", {}),
        claims=tuple(Claim(**claim) for claim in variant.get("claims", ())),
        checkpoints=tuple(checkpoints),
        recipes=tuple(_recipes(name, resolution, usual, checkpoints, variant.get("recipes", ()))),
        inputs=tuple(variant.get("inputs", family.get("inputs", ()))),
        decided_by_values=family.get("decided_by_values", ""),
    )


def _backbone(text: str, file: Path) -> str:
    """A file of code is named from where the preset file lies."""
    place, colon, name = text.rpartition(":")
    return f"{(file.parent / place).resolve()}:{name}" if colon and place.endswith(".py") else text


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
