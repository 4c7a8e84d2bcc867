"""The registry's entries: presets/*.toml read into records. Standard library only."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from dimbench import names, own_code
from dimbench.errors import UsageError

NOT_STATED = "not stated"  # the decoder of a recipe that names none


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A figure as its source prints it ("": it prints none); `rule` names the way of counting that the source used,
    `params_rule` which parameters it means: "trained", those left where branches are "merged", or "all" with the fixed
    tables; `source` where it stands, if not in the family's paper."""

    resolution: int
    params: str = ""
    gflops: str = ""
    rule: str = "macs"
    params_rule: str = "trained"
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A file that its authors published. `file` is its name here, which is theirs where no other file has it, else
    theirs is `original`; `url` its address, `page` the web page that offers it ("": unknown); `size` in bytes (0:
    unknown) and `sha256` as its publisher gives them ("": unknown)."""

    file: str
    original: str = ""
    url: str = ""
    page: str = ""
    size: int = 0
    sha256: str = ""
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
    """One variant of a family. `backbone` is a family of models/, or file.py:NAME, package.module:NAME or
    diffusers:CLASS with its `inputs`; `resolution` is in pixels, `latent_stride` pixels of an image per side of a
    latent; `latent` is the mean and deviation by channel of the autoencoder's bare latents, where the family
    normalises by them and not by the autoencoder's factor; `conditions` are what else decides its figures (frames,
    text_tokens, and `width` where that is not the resolution too); `sampling` how it is usually drawn, `text_encoders`
    the tokens that each is given; `counted` our own parameters and MACs at that resolution; `decided_by_values` what
    the weights and images decide of the work, of which a count on shapes holds all."""

    name: str
    label: str
    family: str
    paper: str
    arxiv: str
    year: int
    backbone: str
    resolution: int
    latent_stride: int
    latent: Mapping[str, Sequence[float]]
    config: Mapping[str, Any]
    conditions: Mapping[str, Any]
    diffusion: Mapping[str, Any]
    sampling: Mapping[str, Any]
    text_encoders: Mapping[str, int]
    counted: Mapping[str, int]
    claims: tuple[Claim, ...]
    checkpoints: tuple[Checkpoint, ...]
    recipes: tuple[Recipe, ...]
    inputs: tuple[str, ...] = ()
    decided_by_values: str = ""

    def claims_at(self, conditions: Mapping[str, Any]) -> tuple[Claim, ...]:
        """What is claimed of it at the size that a record's conditions name."""
        if conditions.get("width") != self.conditions.get("width"):
            return ()
        return tuple(claim for claim in self.claims if claim.resolution == conditions.get("resolution"))

    @property
    def is_native(self) -> bool:
        """Whether the network is one of ours, in models/."""
        return ":" not in self.backbone


@cache
def all_presets() -> dict[str, Preset]:
    """Every preset by name: ours, families in alphabetical order, then the user's own, variants as their file lists
    them. DimbenchError names every fault of a file."""
    from dimbench.preset_files import read_all

    return read_all()


def recipes() -> dict[str, Recipe]:
    """Every published FID by its name, in the order of the presets."""
    return {recipe.name: recipe for preset in all_presets().values() for recipe in preset.recipes}


def find_recipe(name: str) -> Recipe:
    """The recipe called `name`; case, slashes and dashes are forgiven. UsageError names what is near."""
    return names.find(name, recipes(), "recipe", "see `dimbench recipes`")


def match_recipes(pattern: str) -> list[Recipe]:
    """The recipe of that name, or those that a wildcard matches. UsageError where there are none."""
    if not _is_wildcard(pattern):
        return [find_recipe(pattern)]
    found = [recipe for name, recipe in recipes().items() if fnmatchcase(names.folded(name), names.folded(pattern))]
    if not found:
        raise UsageError(f"no recipe matches {pattern!r}; see `dimbench recipes`")
    return found


def family_label(family: str) -> str:
    """How the field writes a family, from the label of its first variant: "DiT-S/2" is of DiT, "SDXL" of itself,
    "LTX-Video 2B" of LTX-Video; a variant without a label names its family."""
    first = next(preset for preset in all_presets().values() if preset.family == family)
    label = first.label.split("/")[0]
    head, _, size = label.rpartition("-")
    if first.label == first.name or not head:
        return label
    return label.rpartition(" ")[0] if " " in size else head


@cache
def shared_files() -> dict[str, Shared]:
    """What several families need besides their weights, by name, as presets/shared/files.toml lists it."""
    from dimbench.preset_files import folder

    listed = tomllib.loads((folder() / "shared" / "files.toml").read_text(encoding="utf-8"))
    return {
        name: Shared(name, group["says"], tuple(Published(**entry) for entry in group["files"]))
        for name, group in listed.items()
    }


def find(name: str) -> Preset:
    """The preset called `name`; case, slashes and dashes are forgiven. UsageError names what is near."""
    if re.fullmatch(r"[\d.]+", name) and name not in all_presets():
        raise UsageError(f"{name} names no model; if it was meant for the option before it, that takes no value here")
    return names.find(name, all_presets(), "model", "see `dimbench list`")


SETTING = r"(\w+)=((?:\[[^\]]*\]|\([^)]*\)|[^,])*)"
"""KEY=VALUE; only a list in brackets has commas in it."""
_SETTINGS = re.compile(rf"(?P<head>.*?)(?P<settings>(?:,{SETTING})*)", re.DOTALL)


def split(text: str) -> tuple[str, dict[str, str]]:
    """ "dit-s2,depth=6" -> ("dit-s2", {"depth": "6"}); "dico-s,depth=[1,1,1,1,1]" has one setting."""
    found = _SETTINGS.fullmatch(text)
    assert found, "the pattern takes all"
    return found["head"], dict(re.findall(f",{SETTING}", found["settings"]))


def is_foreign(text: str) -> bool:
    """Whether a name means no preset but a module, a file or a folder: my_model.py:MyNet, package.nets:build, a folder
    or config.json that diffusers wrote, hf:owner/name."""
    head, _ = split(text)
    if ":" in head or head.endswith((".py", ".json")):
        return not _is_wildcard(head)
    return ("/" in head or Path(head).is_dir()) and not _preset_like(head)


def with_weights(text: str) -> tuple[str, str]:
    """ "dit-s2:w.pt" and "net.py:Net:w.pt" -> the name and the weights, "" where none are given."""
    name, _, weights = text.partition(":")
    if weights and not _preset_like(split(name)[0]):
        member, _, weights = weights.partition(":")
        name = f"{name}:{member}"
    return name, weights


def _preset_like(head: str) -> bool:
    """ "DiT-XL/2" is how a paper writes a preset's name; ./dit-s2 is a folder."""
    if head.startswith((".", "/")):
        return False
    return names.folded(head) in {names.folded(name) for name in all_presets()} or "*" in head


def chosen(patterns: Sequence[str]) -> list[str]:
    """Names for `backbone.find`, each once: wildcards become presets' names, ./net.py:Net and /here/net.py:Net become
    net.py:Net."""
    found: dict[str, None] = {}
    for pattern in patterns:
        _check_settings(pattern)
        if is_foreign(pattern):
            plain = _placed(pattern, _from_here)
            found[plain if is_foreign(plain) else f"./{plain}"] = None  # ./dit-s2 is a folder, dit-s2 a preset
            continue
        head, settings = split(pattern)
        tail = "".join(f",{key}={value}" for key, value in settings.items())
        found.update((preset.name + tail, None) for preset in match([head]))
    return list(found)


def _check_settings(text: str) -> None:
    """UsageError where a word behind a comma is no setting."""
    head, _ = split(text)
    bare = re.fullmatch(r"(.+),(\s*\w*\s*(?:=.*)?)", head)
    if bare and not Path(head).exists():
        raise UsageError(
            f"{bare[2]!r} in {text!r} is no setting; give KEY=VALUE behind a comma, as in {bare[1]},width=384"
        )


def anywhere(text: str) -> str:
    """The same name for a process that runs in another folder."""
    return _placed(text, lambda place: str(Path(place).resolve()))


def _from_here(place: str) -> str:
    """What lies in the current folder without the way to it, which is another one for each user."""
    plain = Path(os.path.normpath(place))
    return str(plain.relative_to(Path.cwd()) if plain.is_relative_to(Path.cwd()) else plain)


def _placed(text: str, spelled: Callable[[str], str]) -> str:
    """The same name with the file or folder in it spelled so."""
    head, settings = split(text)
    place, colon, name = head.rpartition(":")
    if colon and place.endswith(".py"):
        head = f"{spelled(place)}:{name}"
    elif is_foreign(text) and Path(head).exists():
        head = spelled(head)
    return ",".join([head, *(f"{key}={value}" for key, value in settings.items())])


def of(text: str) -> Preset | None:
    """The preset that a name of `chosen` begins with; None where it means no preset."""
    return None if is_foreign(text) else find(split(text)[0])


def code_of(text: str) -> str | None:
    """SHA-256 of the code of a network of the user's own, by itself or in its preset; None of others."""
    preset = of(text)
    named = preset.backbone if preset else split(text)[0]
    place = named.rpartition(":")[0] or named
    return None if preset and preset.is_native else own_code.digest_of(place)


def one(pattern: str) -> str:
    """The only name that `chosen` finds for it; UsageError where there are several."""
    found = chosen([pattern])
    if len(found) > 1:
        raise UsageError(f"{pattern!r} is {len(found)} models ({', '.join(found[:3])} ...); give one of them")
    return found[0]


def meant_for(what: Any, told: Any, among: Sequence[Any]) -> Any:
    """What of the inputs or process `told` is meant for `what`: nothing where it is one of ours, which knows its own,
    beside others that are not."""
    return type(told)() if _is_ours(what) and not all(map(_is_ours, among)) else told


def _is_ours(what: Any) -> bool:
    return isinstance(what, str) and (preset := of(what)) is not None and preset.is_native


def match(patterns: Sequence[str]) -> list[Preset]:
    """The presets of several names or wildcards, each once, in the order given. UsageError for one without a match."""
    chosen: dict[str, Preset] = {}
    for pattern in patterns:
        found = _wildcard(pattern) if _is_wildcard(pattern) else [find(pattern)]
        if not found:
            raise UsageError(f"no model matches {pattern!r}; see `dimbench list`")
        chosen.update((preset.name, preset) for preset in found)
    return list(chosen.values())


def _is_wildcard(pattern: str) -> bool:
    return any(letter in pattern for letter in "*?[")


def _wildcard(pattern: str) -> list[Preset]:
    """The presets whose names match as they are written, or else, where none does, without case and separators; of
    "diffusers:*" those whose networks match."""
    presets = all_presets()
    if ":" in pattern:
        return [preset for preset in presets.values() if fnmatchcase(preset.backbone, pattern)]
    as_written = [preset for name, preset in presets.items() if fnmatchcase(name, pattern.lower())]
    return as_written or [p for name, p in presets.items() if fnmatchcase(names.folded(name), names.folded(pattern))]
