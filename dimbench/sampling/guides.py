"""The second network of autoguidance, made ready beside the one that it guides."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from dimbench.backbone import Backbone, created, find
from dimbench.errors import UsageError
from dimbench.meta import shapes_only
from dimbench.methods.autoguidance import Autoguidance
from dimbench.sampling.request import Request
from dimbench.weights import checkpoints


def opened(method: Autoguidance, guided: Backbone, network: nn.Module) -> tuple[Backbone, nn.Module]:
    """The guide with its weights, where and in what numbers `network` is; shapes alone where that is none but shapes.
    UsageError for one that draws other samples or is told other classes, or that has no weights."""
    try:
        found = find(method.guide, guided.conditions.get("resolution"))
    except UsageError as error:
        raise UsageError(f"--with {method} names no guide that is known: {error}") from None
    if found.state != guided.state or found.classes != guided.classes:
        raise UsageError(
            f"--with {method}: {found.name} draws {found.state} of {_classes(found)}, and {guided.name} {guided.state} "
            f"of {_classes(guided)}; give a guide of the same samples"
        )
    like = next(network.parameters(), torch.empty(0))
    if like.is_meta:
        with shapes_only():
            return found, found.running(found.build())
    found = found.labelled(guided.labels) if getattr(guided, "labels", None) else found  # type: ignore[attr-defined]
    model = created(found)
    request = Request(backbone=found, num_images=1, steps=1, weights=Path(method.weights) if method.weights else None)
    if request.checkpoint is None:
        raise UsageError(f"--with {method}: no weights of {found.name} are here; give weights=FILE")
    checkpoints.fill(model, request.checkpoint)
    return found, found.running(model).to(like.device, like.dtype)


def _classes(backbone: Backbone) -> str:
    return f"{backbone.classes.count} classes" if backbone.classes else "no classes"
