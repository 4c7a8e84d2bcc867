"""Arguments for one call of a family's network."""

from __future__ import annotations

from importlib import import_module
from math import prod
from typing import Any

import torch
from torch import nn

from dimbench.backbone import Registered
from dimbench.presets import Preset


def inputs(model: nn.Module, batch: int, device: str = "cpu") -> dict[str, Any]:
    """x standard normal, t 0.5, and what the family is given, by the names of forward's arguments."""
    config: Any = model.config
    given = import_module(type(model).__module__).given(config, range(batch), device)
    shape = (prod(config.state) + config.beside,) if hasattr(config, "beside") else config.state
    x = torch.randn(batch, *shape, device=device)
    return {"x": x, "t": torch.full((batch,), 0.5, device=device), **given}


def built(preset: Preset, resolution: int | None = None, **settings: Any) -> nn.Module:
    """The network of a preset, on torch's current default device."""
    return of(preset, resolution, **settings).build()


def of(preset: Preset, resolution: int | None = None, **settings: Any) -> Registered:
    return Registered(preset, resolution or preset.resolution, settings)
