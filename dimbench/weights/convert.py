"""A checkpoint of DiT written in its authors' names or in diffusers'."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from dimbench.backbone import Registered, created
from dimbench.errors import DimbenchError, UsageError, plain
from dimbench.files import replacing
from dimbench.presets import Preset
from dimbench.weights import checkpoints, dit_names, recognise


def to_official(preset: Preset, source: Path, file: Path) -> list[str]:
    """Write the weights of the DiT `preset` in `source` as the one file that its authors' code reads; returns what was
    chosen and left out. DimbenchError where the weights are not of that network."""
    if file.suffix != ".safetensors" or file.is_dir():
        raise UsageError(f"the authors' layout is one file, and {file} is no name for it; give --to FILE.safetensors")
    model, notes = _filled(preset, source)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    _write(file, lambda temporary: save_file(state, temporary))
    return notes


def to_diffusers(preset: Preset, source: Path, folder: Path) -> list[str]:
    """As `to_official`, written as a folder that diffusers' DiTTransformer2DModel reads."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, and diffusers' layout is a folder; give --to FOLDER")
    model, notes = _filled(preset, source)
    state = model.state_dict()
    # diffusers adds a row for "no class" to whatever number it is told
    settings = {**asdict(model.config), "num_classes": len(state["y_embedder.embedding_table.weight"]) - 1}
    weights, config = dit_names.to_diffusers(state), json.dumps(dit_names.config(settings), indent=2) + "\n"
    _write(folder / "diffusion_pytorch_model.safetensors", lambda file: save_file(weights, file, {"format": "pt"}))
    _write(folder / "config.json", lambda file: file.write_text(config, encoding="utf-8"))
    return [
        *notes,
        "diffusers' DiT spaces the frequencies of its times a little wider than the authors' does: outputs are equal "
        "at time 0 and near each other elsewhere.",
    ]


def _filled(preset: Preset, source: Path) -> tuple[Any, list[str]]:
    """The network with the weights, and the notes on those."""
    settings = Registered(preset, preset.resolution).config
    if preset.backbone != "dit" or settings.conditioning != "adaln-zero" or not settings.keep_sigma:
        raise UsageError(
            f"diffusers has no network like {preset.name}, and other layouts load as they are; give a DiT with "
            "adaLN-Zero"
        )
    _, fits = recognise.identified(source)
    fit = next((fit for fit in fits if fit.preset.name == preset.name), None)
    if fit is None:
        raise DimbenchError(f"{source} holds {fits[0].preset.name}, not {preset.name}; give its own name")
    model = created(Registered(preset, fit.resolution, options=fit.options))
    return model, checkpoints.fill(model, source)


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    try:
        with replacing(path) as temporary:
            write(temporary)
    except (OSError, SafetensorError) as error:
        raise DimbenchError(f"cannot write {path} ({plain(error)}); make room there or give another --to") from None
