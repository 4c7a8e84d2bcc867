"""Second networks that guide, made ready beside the one that they guide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench import presets
from dimbench.backbone import Backbone, created, find
from dimbench.errors import UsageError
from dimbench.meta import shapes_only
from dimbench.methods.autoguidance import Autoguidance
from dimbench.methods.classifier_guidance import ClassifierGuidance
from dimbench.methods.method import Method
from dimbench.sampling.request import Request
from dimbench.weights import catalog, checkpoints

RANDOM = "random"
TRAINED_ON = ("process", "path", "prediction")  # what decides how an output is read


def opened(method: Autoguidance, guided: Backbone, network: nn.Module, dry: bool = False) -> tuple[Backbone, nn.Module]:
    """The guide with its weights, where and in what numbers `network` is; shapes alone where that is none but shapes.
    A network of which nobody says how it was trained, or what it is called with, is read as the guided one. UsageError
    for one that draws other samples or is told other classes, or that has no weights."""
    found = _named(method, guided)
    if (found.state, _classes(found)) != (guided.state, _classes(guided)):  # whatever no class is: it is not asked
        raise UsageError(
            f"--with {method}: {found.name} draws {found.state} of {_classes(found)}, and {guided.name} {guided.state} "
            f"of {_classes(guided)}; give a guide of the same samples"
        )
    ours, theirs = ({name: each.diffusion.get(name) for name in TRAINED_ON} for each in (guided, found))
    if found.diffusion and ours != theirs:
        unlike = next(name for name in TRAINED_ON if ours[name] != theirs[name])
        raise UsageError(
            f"--with {method}: {found.name} was trained on another {unlike} ({theirs[unlike]}) than {guided.name} "
            f"({ours[unlike]}); give a guide that was trained alike"
        )
    like = next(network.parameters(), torch.empty(0))
    if like.is_meta:
        with shapes_only():
            return found, found.running(found.build())
    found = found.labelled(guided.labels) if getattr(guided, "labels", None) else found  # type: ignore[attr-defined]
    model = created(found)
    file = checkpoint(method, guided)
    if file is None and not dry:
        raise UsageError(f"--with {method}: no weights of {found.name} are here; give weights=FILE")
    if file:
        checkpoints.fill(model, file)
    return found, found.running(model).to(like.device, like.dtype)


def _named(method: Autoguidance, guided: Backbone) -> Backbone:
    inputs = guided.conditions.get("inputs", "").split() if presets.is_foreign(method.guide) else ()
    try:
        return find(method.guide, guided.conditions.get("resolution"), inputs=inputs)
    except UsageError as error:
        raise UsageError(f"--with {method} names no guide that is known: {error}") from None


def checkpoint(method: Method, guided: Backbone) -> Path | None:
    """What the second network of a method is filled from: the file it names, else one that ships or was fetched. None
    where there is none."""
    if isinstance(method, Autoguidance):
        given = Path(method.weights) if method.weights else None
        return Request(backbone=_named(method, guided), num_images=1, steps=1, weights=given).checkpoint
    if isinstance(method, ClassifierGuidance) and method.weights != RANDOM:
        return Path(method.weights) if method.weights else catalog.shared(classifier_of(guided))
    return None


def classifier_of(guided: Backbone) -> str:
    """What the published classifier of a network's images is called, whether there is one or not."""
    return catalog.classifier_of(guided.preset.family if guided.preset else guided.name, guided.state[-1])


def fingerprints(methods: Sequence[Method], guided: Backbone) -> dict[str, str]:
    """Which weights the second networks of methods have, as a condition."""
    files = [file for method in methods if (file := checkpoint(method, guided))]
    return {"guide_weights": " ".join(map(checkpoints.fingerprint, files))} if files else {}


def _classes(backbone: Backbone) -> str:
    return f"{backbone.classes.count} classes" if backbone.classes else "no classes"


class Toward(nn.Module):
    """forward(x (N, C, ...), t (N,), y (N,)) -> `scale` times the gradient by x of log p(y | x, t), of a classifier."""

    def __init__(self, classifier: nn.Module, scale: float) -> None:
        super().__init__()
        self.classifier, self.scale = classifier.requires_grad_(False), scale
        self.dtype = next(classifier.parameters()).dtype

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            here = x.to(self.dtype).clone().requires_grad_()
            chosen = F.log_softmax(self.classifier(here, t.clone()), dim=-1).gather(1, y.clone()[:, None])
            (gradient,) = torch.autograd.grad(chosen.sum(), here)
        return self.scale * gradient.to(x.dtype)


def toward_class(method: ClassifierGuidance, guided: Backbone, network: nn.Module, dry: bool = False) -> Toward:
    """What moves the samples, with the classifier's weights, where and in what numbers `network` is; shapes alone where
    that is none but shapes. UsageError where no classifier is known, or none of its weights."""
    classifier = getattr(getattr(guided, "family", None), "classifier", None)
    if classifier is None:
        raise UsageError(f"--with {method}: no classifier of noised images is known for {guided.name}; leave it out")
    like = next(network.parameters(), torch.empty(0))
    if like.is_meta:
        with shapes_only():
            return Toward(classifier(guided.config), method.scale)  # type: ignore[attr-defined]
    file = checkpoint(method, guided)
    if file is None and method.weights != RANDOM and not dry:
        raise UsageError(
            f"--with {method} names no weights, and {classifier_of(guided)} is not here; fetch it with "
            "`dimbench weights fetch`, or give weights=FILE, or weights=random to run it dry"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = classifier(guided.config).eval()  # type: ignore[attr-defined]
    if file:
        checkpoints.fill(model, file)
    return Toward(model.to(like.device, like.dtype), method.scale)
