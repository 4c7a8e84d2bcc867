"""Counts of presets that need not be made again: those that ship, and those that were made here.

Each is kept under a hash of all that decides it; where anything of that has changed, nothing is found and it is counted
again. A line of a file is a check sum, the key and the sums as JSON. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dimbench
from dimbench import paths, presets
from dimbench.counting.summed import Sums
from dimbench.errors import DimbenchError, reason
from dimbench.files import ends_whole
from dimbench.image_size import Resolution
from dimbench.progress import say

SHIPPED = Path(__file__).with_name("kept.tsv")

# The sources that decide every count; a family of ours adds its own, networks of diffusers what they stand on.
SOURCES = (
    "arguments.py", "backbone.py", "errors.py", "files.py", "foreign.py", "from_diffusers.py", "hub.py",
    "image_size.py", "meta.py",
    "names.py", "own.py", "own_code.py", "preset_files.py", "presets.py", "processor.py",
    *(f"counting/{name}.py" for name in ("bill", "costs", "lines", "parameters", "products", "rules", "summed")),
    "diffusers_networks/*.py", "diffusion/convention.py", "diffusion/flow.py",
    "layers/*.py", "models/__init__.py", "kernels/backends.py", "kernels/onednn.py", "kernels/*/__init__.py",
)  # fmt: skip
OF_DIFFUSERS = ("presets/shared/autoencoders.toml",)
# What decides besides what a run executes.
OF_RUNS = (
    "diffusion/*.py", "methods/*.py",
    *(f"sampling/{name}.py" for name in ("image_cost", "noise_levels", "run", "sample_noise")),
)  # fmt: skip
# What a preset says that no network is built from.
_ABOUT = {
    "label", "paper", "arxiv", "year", "latent", "sampling", "text_encoders", "counted", "claims", "checkpoints",
    "recipes",
}  # fmt: skip
_VERSIONS = "versions"
_MOST_BYTES = 2**22  # of the file in the cache; then it begins anew

Versions = Mapping[str, str | None]


def known(name: str, resolution: Resolution | None = None, batch: int = 1) -> Sums | None:
    """The count of the preset of that name, settings behind it, if it is kept; UsageError where there is none."""
    key = _keyed(name, resolution, batch, here())
    return _find(SHIPPED, key) or _find(_own(), key)


def elsewhere(name: str, resolution: Resolution | None = None) -> Sums | None:
    """As `known` for what ships, under the versions of libraries that it was counted with."""
    return _find(SHIPPED, _keyed(name, resolution, 1, shipped_with()))


def sums(name: str, resolution: Resolution | None = None, batch: int = 1) -> Sums:
    """As `known`; what is not kept is counted, and kept where it can be."""
    found = known(name, resolution, batch)
    if found is None:
        from dimbench.counting import costs

        found = costs.count(name, resolution, batch).sums()
        if key := _keyed(name, resolution, batch, here()):
            _keep(key, _json(found))
    return found


def known_run(name: str, resolution: Resolution, settings: Mapping[str, Any]) -> int | None:
    """The multiply-adds of an image of a preset by a run of these settings, if they are kept."""
    key = _keyed(name, resolution, 1, here(), settings)
    text = _texts(SHIPPED).get(key) or _texts(_own()).get(key)
    return None if text is None else int(text)


def run(name: str, resolution: Resolution, settings: Mapping[str, Any], counted: Callable[[], int]) -> int:
    """As `known_run`; what is not kept is `counted`, and kept where it can be."""
    found = known_run(name, resolution, settings)
    if found is None:
        found = counted()
        if key := _keyed(name, resolution, 1, here(), settings):
            _keep(key, str(found))
    return found


def parameters(name: str, resolution: Resolution | None = None) -> Sums | None:
    """As `sums` where it is kept or can be; else None, for then parameters alone are less to count."""
    if found := known(name, resolution):
        return found
    if not _keyed(name, resolution, 1, here()):
        return None
    try:
        return sums(name, resolution)
    except DimbenchError:  # its cost may depend on values, its parameters do not
        return None


def write(
    counted: Iterable[tuple[str, int, Sums]], runs: Iterable[tuple[str, int, Mapping[str, Any], int]], file: Path
) -> None:
    """A file as it ships, of (name, resolution, sums) and (name, resolution, settings, multiply-adds) counted here."""
    lines = [_line(_VERSIONS, json.dumps(here()))]
    lines += [_line(_keyed(name, resolution, each.batch, here()), _json(each)) for name, resolution, each in counted]
    lines += [
        _line(_keyed(name, resolution, 1, here(), settings), str(macs)) for name, resolution, settings, macs in runs
    ]
    file.write_text("".join(lines), encoding="utf-8")


@cache
def here() -> Versions:
    """Of the libraries that decide a count; a build's own label says nothing about shapes."""
    return {package: _version(package) for package in ("torch", "diffusers")}


def shipped_with() -> Versions:
    """Of the libraries that what ships was counted with."""
    return dict(json.loads(_texts(SHIPPED).get(_VERSIONS, "{}")))


def _version(package: str) -> str | None:
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None


def _keyed(
    name: str,
    resolution: Resolution | None,
    batch: int,
    versions: Versions,
    run: Mapping[str, Any] | None = None,
) -> str:
    """The key of a count, of a pass or a run; "" where code decides it that nobody here knows."""
    head, settings = presets.split(name)
    preset = presets.find(head)
    of_diffusers = preset.backbone.startswith("diffusers:")
    if not (preset.is_native or of_diffusers):
        return ""
    deciding: dict[str, Any] = {
        "preset": {field.name: getattr(preset, field.name) for field in fields(preset) if field.name not in _ABOUT},
        "settings": settings,
        "resolution": preset.resolution if resolution is None else resolution,
        "batch": batch,
        "torch": versions.get("torch"),
        "sources": _sources(*(OF_DIFFUSERS if of_diffusers else (f"models/{preset.backbone}.py",))),
    }
    if run is not None:
        deciding |= {"run": run, "sources_of_runs": _sources(*OF_RUNS)}
    if of_diffusers:
        told = {name: value for name, value in os.environ.items() if name.startswith("DIFFUSERS_")}
        deciding |= {"diffusers": versions.get("diffusers"), "environment": told}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


@cache
def _sources(*further: str) -> str:
    """The hash of the files that decide a count."""
    found = hashlib.sha256(_sources().encode() if further else b"")
    for pattern in further or SOURCES:
        for root in map(Path, dimbench.__path__):
            for file in sorted(root.glob(pattern)):
                found.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes() + b"\0")
    return found.hexdigest()


def _own() -> Path:
    return paths.cache_folder() / SHIPPED.name


def _keep(key: str, text: str) -> None:
    file = _own()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = not file.is_file() or file.stat().st_size > _MOST_BYTES
        with file.open("w" if fresh else "a", encoding="utf-8") as lines:
            lines.write(("" if ends_whole(file) else "\n") + _line(key, text))
    except OSError as error:
        _say_once(f"counts cannot be kept in {file} ({reason(error)}) and are made again next time")
    else:
        _texts(file)[key] = text


def _find(file: Path, key: str) -> Sums | None:
    text = _texts(file).get(key)
    if text is None:
        return None
    entry = json.loads(text)
    pairs = {part: {name: tuple(pair) for name, pair in entry[part].items()} for part in ("uncounted", "missing")}
    return Sums(**{**entry, **pairs})


@cache
def _texts(file: Path) -> dict[str, str]:
    """The sums in a file as JSON by their keys; damaged lines are left out and said."""
    try:
        lines = file.read_bytes().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        say(f"kept counts cannot be read from {file} ({reason(error)}); they are made again")
        return {}
    parts = [line.split("\t") for line in lines]
    whole = [part for part in parts if len(part) == 3 and part[0] == _check(*part[1:])]
    if damaged := len(parts) - len(whole):
        say(f"{file}: {damaged} damaged lines were left out; what they counted is counted again")
    return {key: text for _, key, text in whole}


def _json(found: Sums) -> str:
    return json.dumps(asdict(found))


def _line(key: str, text: str) -> str:
    return f"{_check(key, text)}\t{key}\t{text}\n"


def _check(key: str, text: str) -> str:
    return hashlib.sha256(f"{key}\t{text}".encode()).hexdigest()[:16]


_say_once = cache(say)
