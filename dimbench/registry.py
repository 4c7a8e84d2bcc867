"""From a preset to a network, and official checkpoints into it."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dimbench import presets
from dimbench.errors import DimbenchError, UsageError
from dimbench.presets import Preset

Shapes = Mapping[str, tuple[int, ...]]

AS_TRAINED = "as trained"
_SHOWN = 4  # names per kind of mismatch in an error


def list_models(pattern: str = "*") -> list[str]:
    """The names of all registered models that match the wildcard `pattern`."""
    return [preset.name for preset in presets.match([pattern])]


def config_of(preset: Preset, resolution: int | None = None, **overrides: Any) -> Any:
    """The family's Config for images of `resolution` pixels per side (the preset's own where None)."""
    resolution = preset.resolution if resolution is None else resolution
    config_class = _backbone(preset).Config
    known = {field.name for field in dataclasses.fields(config_class)}
    if unknown := sorted(set(overrides) - known):
        raise UsageError(f"{preset.name} has no setting {unknown[0]!r}; known are {', '.join(sorted(known))}")
    if resolution < 1 or resolution % preset.latent_stride:
        raise UsageError(
            f"resolution {resolution} does not fit {preset.name}, whose latents have one side per "
            f"{preset.latent_stride} pixels; give a positive multiple of {preset.latent_stride}"
        )
    settings = {"input_size": resolution // preset.latent_stride, **preset.config, **overrides}
    try:
        return config_class(**settings)
    except UsageError as error:
        raise UsageError(f"{preset.name} at resolution {resolution}: {error}") from None


def upsample_factor(preset: Preset, resolution: int | None = None) -> int:
    """How many times as large as the images its weights were made for the images of `resolution` are per side."""
    return getattr(config_of(preset, resolution), "upsample_factor", 1)


def create_model(name: str, *, resolution: int | None = None, seed: int = 0, **overrides: Any) -> nn.Module:
    """The network `name` in eval mode with the official initialisation drawn from `seed`; forward(x, t, y).

    `resolution` is the image's side in pixels (None: the preset's own, 256 for all published models); `overrides`
    are fields of the family's Config. Raises UsageError for an unknown name, setting or size.
    """
    preset = presets.find(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(preset, resolution, **overrides)


def build(preset: Preset, resolution: int | None = None, **overrides: Any) -> nn.Module:
    """The network of `preset` in eval mode, on torch's current default device."""
    return _backbone(preset).build(config_of(preset, resolution, **overrides)).eval()


def for_inference(preset: Preset, model: nn.Module) -> nn.Module:
    """`model` in the form that its family runs and counts at inference, where that differs from the trained one: with
    branches merged. Checkpoints hold the trained form: load them before."""
    fuse = getattr(_backbone(preset), "fuse", None)
    return model if fuse is None else fuse(model)


def form_of(model: nn.Module, running: nn.Module) -> str:
    """What `for_inference` made of `model`: "merged", or "as trained" where it is the same network."""
    return AS_TRAINED if running is model else "merged"


def example_inputs(preset: Preset, model: nn.Module, batch: int, device: str = "cpu") -> dict[str, Tensor]:
    """Arguments for one call of `model`, as its family defines them."""
    return _backbone(preset).inputs(model.config, batch, device)


def _backbone(preset: Preset) -> Any:
    return import_module(f"dimbench.models.{preset.backbone}")


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


@dataclasses.dataclass(frozen=True)
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
