"""What a checkpoint on disk holds: one file, the parts that an index names, or a folder with either."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimbench import hub
from dimbench.errors import DimbenchError, plain
from dimbench.files import json_object
from dimbench.weights.first_bytes import SUFFIXES, FileKind, kind_of
from dimbench.weights.unpickling import damaged, read_pickle

_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")  # what the hub's libraries call a network's weights
_PART = re.compile(r"-\d{5}-of-\d{5}")
_NOT_WEIGHTS = re.compile(
    r"optimi[sz]er|scheduler|random_state|rng_state|training_args|scaler|custom_checkpoint|optim_|latents_stats"
)
NETWORKS = ("transformer_ema", "unet_ema", "ema", "transformer", "unet")
"""Folders of a network inside that of a pipeline or a run, averages first."""

_SHOWN = 4


@dataclass(frozen=True)
class Opened:
    """`content` as the libraries give it, from `files`; `notes` say which of several files they are."""

    content: Mapping[Any, Any]
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def open_checkpoint(path: Path, inside: Sequence[str] = NETWORKS) -> Opened:
    """Read a file of weights, the index of several, or a folder that holds either, itself or in one of the folders
    `inside`; "hf:owner/name" is such a folder in the hub's cache. Nothing of it is executed. DimbenchError where there
    is nothing to read."""
    path = hub.place_of(path)
    file = _weights_of(path, inside) if path.is_dir() else path
    if not file.is_file():
        raise DimbenchError(
            f"there is no checkpoint file {path}; give the path of a .pt, .pth, .bin or .safetensors file, or of a "
            "folder that holds one"
        )
    notes = (f"Of the folder {path}, {file.relative_to(path)} was taken.",) if path.is_dir() else ()
    if kind_of(file) is FileKind.JSON:
        return _parts(file, notes)
    return Opened(_read(file), (file,), notes)


def holds_weights(folder: Path) -> bool:
    """Whether a folder, or hf:owner/name, has weights that `open_checkpoint` would look for."""
    try:
        return bool(files_of(folder))
    except DimbenchError:
        return False


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that `open_checkpoint` reads, without reading the weights."""
    path = hub.place_of(path)
    file = _weights_of(path, NETWORKS) if path.is_dir() else path
    if kind_of(file) is FileKind.JSON:
        return tuple(file.parent / name for name in dict.fromkeys(_weight_map(file).values()))
    return (file,)


def _read(file: Path) -> Mapping[Any, Any]:
    if kind_of(file) is FileKind.TORCH:
        return read_pickle(file)
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except Exception as error:  # the library has several errors of its own
        raise DimbenchError(damaged(file, error)) from None


def _parts(index: Path, notes: tuple[str, ...]) -> Opened:
    """All tensors that an index names, from the files beside it that it says they are in."""
    places = _weight_map(index)
    files = {name: index.parent / name for name in dict.fromkeys(places.values())}
    if absent := [name for name, file in files.items() if not file.is_file()]:
        raise DimbenchError(
            f"{len(absent)} of the {len(files)} files that {index} names are not beside it ({_listed(absent)}); fetch "
            "them too"
        )
    content: dict[str, Any] = {}
    for name, file in files.items():
        part = _read(file)
        wanted = [tensor for tensor, place in places.items() if place == name]
        if lost := [tensor for tensor in wanted if tensor not in part]:
            raise DimbenchError(
                f"{file} does not hold {len(lost)} of the tensors that {index.name} places there ({_listed(lost)}); "
                "fetch both again"
            )
        content.update((tensor, part[tensor]) for tensor in wanted)
    return Opened(content, tuple(files.values()), notes)


def _weight_map(index: Path) -> dict[str, str]:
    """Tensor -> name of the file that holds it."""
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise DimbenchError(
            f"{index} is JSON without a weight_map, so no index of weights; give the file of weights or its folder"
        )
    for tensor, file in listed.items():
        if not isinstance(file, str) or Path(file).name != file or file in ("", ".", "..") or "\0" in file:
            raise DimbenchError(
                f"{index} places {plain(tensor)} in {plain(repr(file))}, which is no name of a file beside it; fetch "
                "it again"
            )
    return listed


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        return json_object(file)
    except (OSError, ValueError) as error:
        raise DimbenchError(f"{file} cannot be read as a JSON object ({plain(error)}); fetch it again") from None


def config_beside(file: Path) -> dict[str, Any] | None:
    """What the config.json beside a file says, if there is one."""
    config = file.with_name("config.json")
    return read_json(config) if config.is_file() else None


def _weights_of(folder: Path, inside: Sequence[str]) -> Path:
    """The one file of weights, or the index, of a folder."""
    if (folder / ".metadata").is_file():
        raise DimbenchError(
            f"{folder} is a distributed checkpoint of torch; turn it into one file where it was made, with "
            "torch.distributed.checkpoint.format_utils.dcp_to_torch_save"
        )
    if found := _in_order(folder):
        return found
    for place in (*inside, *_latest(folder)):
        if (folder / place).is_dir():
            return _weights_of(folder / place, ())
    raise DimbenchError(
        f"the folder {folder} holds no file of weights ({', '.join(SUFFIXES)} or an index of several) that can be "
        "told from the others; give the file itself"
    )


def _latest(folder: Path) -> list[str]:
    """The folder that DeepSpeed's file `latest` names."""
    note = folder / "latest"
    if not note.is_file():
        return []
    name = note.read_text(encoding="utf-8", errors="replace")[:_LONGEST].strip()
    return [name] if Path(name).name == name else []


_LONGEST = 255  # bytes of a file's name


def _in_order(folder: Path) -> Path | None:
    """The file directly in the folder that holds the whole network; None where there is none. DimbenchError where
    several might."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and not _NOT_WEIGHTS.search(file.name)]
    whole = [file for file in files if file.suffix.lower() in SUFFIXES and not _PART.search(file.name)]
    found = whole + [file for file in files if re.search(r"\.index(\.\w+)?\.json$", file.name)]
    named = [file for file in found if file.name.split(".")[0] in _STEMS or "ema" in _words(file)]
    if named:
        return min(named, key=_preference)
    if len(found) > 1:
        raise DimbenchError(
            f"the folder {folder} holds several files of weights ({_listed([file.name for file in found])}); give one "
            "of them"
        )
    return found[0] if found else None


def _preference(file: Path) -> tuple[int, ...]:
    """Averages first, those said to be none last; then safetensors, whole precision, one file."""
    words = _words(file)
    return (
        2 if "non" in words else int("ema" not in words),
        int("safetensors" not in words),
        next((place for place, word in enumerate(("bf16", "fp16"), 1) if word in words), 0),
        int("index" in words),
        len(words),
    )


def _words(file: Path) -> list[str]:
    return re.split(r"[._-]", file.name.lower())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(plain, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
