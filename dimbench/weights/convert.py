"""A checkpoint of DiT or Stable Diffusion 1.5 written in its authors' names or in diffusers'."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from dimbench.backbone import Backbone, Registered, created
from dimbench.errors import DimbenchError, UsageError, plain
from dimbench.files import replacing
from dimbench.from_diffusers import FromDiffusers
from dimbench.weights import checkpoints, dit_names, recognise, unet_names


def to_official(found: Backbone, source: Path, file: Path) -> list[str]:
    """Write the weights of `found` in `source` as the one file that its authors' code reads; returns what was chosen
    and left out. DimbenchError where the weights are not of that network."""
    if file.suffix != ".safetensors" or file.is_dir():
        raise UsageError(f"the authors' layout is one file, and {file} is no name for it; give --to FILE.safetensors")
    model, notes = _filled(found, source)
    state = model.state_dict()
    if isinstance(found, FromDiffusers):
        state = {unet_names.NETWORK + name: tensor for name, tensor in unet_names.to_authors(state).items()}
    written = {name: tensor.contiguous() for name, tensor in state.items()}
    _write(file, lambda temporary: save_file(written, temporary))
    return notes


def to_diffusers(found: Backbone, source: Path, folder: Path) -> list[str]:
    """As `to_official`, written as a folder that diffusers' class of the network reads."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, and diffusers' layout is a folder; give --to FOLDER")
    model, notes = _filled(found, source)
    state: Any = model.state_dict()
    if isinstance(found, FromDiffusers):
        config = {"_class_name": found.class_name, **found.all_settings}
    else:
        # diffusers adds a row for "no class" to whatever number it is told
        rows = len(state["y_embedder.embedding_table.weight"]) - 1
        state, config = dit_names.to_diffusers(state), dit_names.config({**asdict(model.config), "num_classes": rows})
        notes.append(
            "diffusers' DiT spaces the frequencies of its times a little wider than the authors' does: outputs are "
            "equal at time 0 and near each other elsewhere."
        )
    said = json.dumps(config, indent=2) + "\n"
    _write(folder / "diffusion_pytorch_model.safetensors", lambda file: save_file(state, file, {"format": "pt"}))
    _write(folder / "config.json", lambda file: file.write_text(said, encoding="utf-8"))
    return notes


def _filled(found: Backbone, source: Path) -> tuple[Any, list[str]]:
    """The network with the weights, and the notes on those."""
    if isinstance(found, FromDiffusers) and found.class_name == unet_names.CLASS:
        model = created(found)
        return model, checkpoints.fill(model, source)
    if not isinstance(found, Registered) or not _is_dit(found):
        raise UsageError(
            f"{found.name} has one layout here, and others load as they are; give a DiT with adaLN-Zero, or sd-v1-5"
        )
    _, fits = recognise.identified(source)
    fit = next((fit for fit in fits if fit.preset.name == found.preset.name), None)
    if fit is None:
        raise DimbenchError(f"{source} holds {fits[0].preset.name}, not {found.preset.name}; give its own name")
    model = created(Registered(found.preset, fit.resolution, options=fit.options))
    return model, checkpoints.fill(model, source)


def _is_dit(found: Registered) -> bool:
    config = found.config
    return found.preset.backbone == "dit" and config.conditioning == "adaln-zero" and config.keep_sigma


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    try:
        with replacing(path) as temporary:
            write(temporary)
    except (OSError, SafetensorError) as error:
        raise DimbenchError(f"cannot write {path} ({plain(error)}); make room there or give another --to") from None
