"""Checkpoints: what a file of weights holds, and official weights into a network."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dimbench.errors import DimbenchError

Shapes = Mapping[str, tuple[int, ...]]

_SHOWN = 4  # names per kind of mismatch in an error


def load_checkpoint(model: nn.Module, source: str | Path | Mapping[str, Any]) -> nn.Module:
    """Load official weights into `model`, strictly, and return it.

    `source` is a .pt, .pth, .bin or .safetensors file or a state dict; of a training checkpoint the "ema" weights are
    taken, of several averages the first, else "model". A family may fit weights of another form or size (its
    `fit_checkpoint`). Nothing is unpickled but tensors and plain containers. DimbenchError names what is missing,
    unexpected or of the wrong shape.
    """
    where = "the given state dict" if isinstance(source, Mapping) else str(source)
    state = _weights(source if isinstance(source, Mapping) else read_checkpoint(Path(source)), where)
    if fit := getattr(import_module(type(model).__module__), "fit_checkpoint", None):
        state = fit(state, model.config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if faults := mismatches(expected, given):
        raise DimbenchError(
            f"{where} does not hold the weights of this {type(model).__name__}: {faults}; give a checkpoint "
            "of the same variant, resolution and label rows"
        )
    model.load_state_dict(state)
    return model


def mismatches(expected: Shapes, given: Shapes) -> str:
    """In words what is missing, unexpected or of another shape, the first of each kind by name; "" where nothing is."""
    missing = [name for name in expected if name not in given]
    unexpected = [name for name in given if name not in expected]
    reshaped = [
        f"{name} {given[name]} instead of {shape}"
        for name, shape in expected.items()
        if name in given and given[name] != shape
    ]
    return "; ".join(
        f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        if names
    )


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """What the file holds, read without executing any of it."""
    if not path.is_file():
        raise DimbenchError(
            f"there is no checkpoint file {path}; give the path of a .pt, .pth, .bin or .safetensors file"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return _read_pickle(path)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0].split(" Please file")[0]
        raise DimbenchError(
            f"{path} holds more than tensors and was not opened ({reason.strip()}); re-save its state "
            "dict alone, or as safetensors"
        ) from None
    except Exception as error:  # truncated zip, not a zip, bad header: each library has errors of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DimbenchError(
            f"{path} cannot be read as a checkpoint ({reason}); it may be cut off: fetch it again and compare its size"
        ) from None


def _read_pickle(path: Path) -> Mapping[str, Any]:
    from argparse import Namespace

    # Official training checkpoints carry their command line beside the weights.
    with torch.serialization.safe_globals([Namespace]):
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__}, not a dictionary")
    return content


@dataclass(frozen=True)
class Weights:
    """What a checkpoint holds. `layout` says how the weights lie in it, `trained_as` the model that its training
    command named ("": none)."""

    state: dict[str, Tensor]
    layout: str
    trained_as: str


def read_weights(path: Path) -> Weights:
    """The weights in a file, read without executing any of it. DimbenchError where it holds none."""
    content = read_checkpoint(path)
    state = _weights(content, str(path))
    layout = "state dict" if len(state) == len(content) else f"{{{', '.join(map(str, content))}}}"
    return Weights(state, layout, str(getattr(content.get("args"), "model", "")))


def _weights(content: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    for key in ("ema", "model_ema1", "model", "state_dict"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    state = {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    if not state or len(state) < len(content):
        odd = next((str(name) for name in content if name not in state), "nothing")
        raise DimbenchError(
            f"{where} holds no state dict: {odd!r} is not a tensor; give a file with bare weights or with them under "
            "'ema' or 'model'"
        )
    return state
