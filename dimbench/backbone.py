"""From a preset to a network."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from dimbench import presets
from dimbench.errors import UsageError
from dimbench.presets import Preset

AS_TRAINED = "as trained"


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
