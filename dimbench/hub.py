"""Folders of Hugging Face's hub, "hf:owner/name" or "hf:owner/name/folder", in the cache that its libraries share.

Reading looks in the cache alone; only `fetch` and `fetch_network` ask the network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dimbench.errors import DimbenchError, UsageError, plain

PREFIX = "hf:"
_WORD = r"[A-Za-z0-9][\w.-]*"
_SETTINGS = "config.json"
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


@dataclass(frozen=True)
class Name:
    """A folder ("" : the top one) of a repository "owner/name"."""

    repository: str
    folder: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}{'/' if self.folder else ''}{self.folder}"


def is_name(text: str | Path) -> bool:
    return str(text).startswith(PREFIX)


def parse(text: str | Path) -> Name:
    """UsageError where it is not as the hub names folders."""
    found = re.fullmatch(rf"{PREFIX}({_WORD}/{_WORD})(?:/((?:{_WORD}/)*{_WORD}))?/?", str(text))
    if found is None:
        raise UsageError(
            f"{plain(text)} does not name a folder on the hub; write hf:owner/name or hf:owner/name/folder"
        )
    return Name(found[1], found[2] or "")


def local(name: Name) -> Path | None:
    """The folder in the cache; None where it was not fetched."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name.repository, local_files_only=True)) / name.folder
    except (LocalEntryNotFoundError, HFValidationError, RuntimeError):  # the last where a user has no home
        return None
    return folder if folder.is_dir() else None


def place_of(path: Path) -> Path:
    """`path`, or the folder in the cache where it is a name of the hub. DimbenchError where that was not fetched."""
    if not is_name(path):
        return path
    name = parse(path)
    if (folder := local(name)) is None:
        raise DimbenchError(
            f"{name} is not in the hub's cache on this machine; --fetch, or `dimbench weights fetch {name}` brings it"
        )
    return folder


def fetch(name: Name) -> Path:
    """Bring the weights and settings of one folder into the cache; returns the folder. DimbenchError where the hub
    does not give them."""
    listed = _listed(name)
    wanted = _wanted([file for file in listed if file.parent == Path(name.folder)])
    if not any(file.suffix in _WEIGHTS for file in wanted):
        holders = sorted({str(file.parent) for file in listed if file.suffix in _WEIGHTS} - {name.folder})
        inside = f", but in {', '.join(map(plain, holders[:6]))}: name one, as in {name}/FOLDER" if holders else ""
        raise DimbenchError(f"{name} holds no weights{inside or '; see its page for where they are'}")
    return _brought(name, wanted)


def fetch_network(name: Name, inside: Sequence[str], weights: bool) -> None:
    """Bring a network's settings into the cache, and with `weights` those too: of the folder, or of the first folder
    `inside` it that has settings. DimbenchError where the hub does not give them."""
    listed = _listed(name)
    folders = (Path(name.folder) / below for below in ("", *inside))
    home = next((folder for folder in folders if folder / _SETTINGS in listed), None)
    if home is None:
        raise DimbenchError(
            f"{name} holds no network of diffusers: it has no {_SETTINGS}, nor {' or '.join(inside)} with one"
        )
    there = Name(name.repository, "" if home == Path() else home.as_posix())
    if weights:
        fetch(there)
    else:
        _brought(there, [home / _SETTINGS])


def _listed(name: Name) -> list[Path]:
    from huggingface_hub import HfApi

    with _asking(name):
        return [Path(file) for file in HfApi().list_repo_files(name.repository)]


def _brought(name: Name, files: list[Path]) -> Path:
    from huggingface_hub import hf_hub_download

    with _asking(name):
        places = [Path(hf_hub_download(name.repository, file.as_posix())) for file in files]
    return places[0].parent


@contextmanager
def _asking(name: Name) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # its own errors, and those of whatever HTTP library it uses
        raise DimbenchError(
            f"{name} was not fetched ({plain(error)}); look its name up on the hub, or fetch it where there is a way "
            "there and give the folder"
        ) from None


def _wanted(files: list[Path]) -> list[Path]:
    """The settings, and of several copies of the weights the safetensors in whole precision."""
    weights = [file for file in files if file.suffix in _WEIGHTS]
    for better in (lambda file: file.suffix == ".safetensors", lambda file: len(file.suffixes) == 1):
        weights = [file for file in weights if better(file)] or weights
    return [file for file in files if file.suffix == ".json"] + weights
