"""Checkpoints: what one holds, and its weights into a network."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dimbench.errors import DimbenchError, plain
from dimbench.files import digest
from dimbench.layers.embed import sincos_2d
from dimbench.weights import dit_names, layouts, unet_names
from dimbench.weights.layouts import Reading
from dimbench.weights.opening import NETWORKS, Opened, config_beside, files_of, open_checkpoint

Shapes = Mapping[str, tuple[int, ...]]

_SHOWN = 4  # names per kind of mismatch in an error
_USUAL_LATENT = 32  # side of the latents of 256 pixels, where nothing says another


def load_checkpoint(model: nn.Module, source: str | Path | Mapping[str, Any]) -> nn.Module:
    """Load weights into `model`, strictly, and return it; what was chosen or left out is a Python warning.

    `source` is a file of torch or safetensors, an index of several, a folder with either, or a state dict. The weights
    may lie in containers and under prefixes, averages are taken first, and DiT's may be in diffusers' names. A family
    may fit weights of another size (its `fit_checkpoint`). Nothing is unpickled but tensors, numbers and plain
    containers. DimbenchError names what is missing, unexpected, of the wrong shape or not made of floats.
    """
    for note in fill(model, source):
        warnings.warn(note, stacklevel=2)
    return model


def fill(model: nn.Module, source: str | Path | Mapping[str, Any]) -> list[str]:
    """As `load_checkpoint`; returns in sentences what was chosen and what was left out."""
    opened = Opened(source, ()) if isinstance(source, Mapping) else open_checkpoint(Path(source))
    where = str(source) if opened.files else "the given state dict"
    expected = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}
    content, said = _translated(model, opened.content)
    offers = [*_from_lists(model, content), *_offers(content, expected, where)]
    passed: list[tuple[Reading, str]] = []
    for offer in offers:
        reading = _completed(model, _ready(offer, where), offers)
        check_kinds(reading.state, where, expected)
        state = _fitted(model, reading.state)
        if not (faults := mismatches(shapes(expected), shapes(state))):
            model.load_state_dict(state)
            return [*opened.notes, *said, *_notes(offer, offers, passed)]
        passed.append((offer, faults))
    raise DimbenchError(
        f"{where} does not hold the weights of this {type(model).__name__}: {passed[0][1]}; give a checkpoint "
        "of the same variant, resolution and label rows"
    )


def fingerprint(path: Path) -> str:
    """The first half of the SHA-256 of a file of weights, or of those of the several files of one checkpoint."""
    digests = [digest(file) for file in files_of(path)]
    if len(digests) > 1:
        digests = [hashlib.sha256("".join(digests).encode()).hexdigest()]
    return digests[0][:16]


def fingerprint_of(model: nn.Module) -> str:
    """As `fingerprint`, of the weights that a network has."""
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


@dataclass(frozen=True)
class Weights:
    """Weights that a checkpoint holds in `files`. `layout` says how they lie there, `trained_as` the model that its
    training command named ("": none), `notes` what was chosen and left out."""

    state: dict[str, Tensor]
    files: tuple[Path, ...]
    layout: str
    trained_as: str
    notes: tuple[str, ...]


def read_weights(path: Path, known: Collection[str], inside: Sequence[str] = NETWORKS) -> Iterator[Weights]:
    """The ways to take weights of a network with some of the `known` names from a file or folder, the best first; at
    least one. Nothing is executed. DimbenchError where there are no tensors, or none of numbers."""
    opened = open_checkpoint(path, inside)
    offers = _offers(opened.content, known, str(path))
    trained_as = plain(getattr(opened.content.get("args"), "model", ""))
    for offer in offers:
        reading = _ready(offer, str(path))
        check_kinds(reading.state, str(path))
        chosen = [*opened.notes, *_notes(offer, offers, ())]
        if reading.diffusers:
            chosen.append(_place_table(reading.state, config_beside(opened.files[0])))
        yield Weights(reading.state, opened.files, _layout(opened.content), trained_as, tuple(chosen))


def _offers(content: Mapping[Any, Any], known: Collection[str], where: str) -> list[Reading]:
    found = layouts.readings(content, known)
    theirs = dit_names.of_diffusers(known)
    if theirs and not any(reading.state.keys() & set(known) for reading in found):
        translatable = [r for r in layouts.readings(content, theirs) if theirs & r.state.keys()]
        found = [replace(reading, diffusers=True) for reading in translatable] or found
    if not found:
        odd = next((plain(name) for name in content), "nothing")
        raise DimbenchError(
            f"{where} holds no state dict: there are no tensors under names in it (its first entry is {odd!r}); give a "
            "file with bare weights or with them under 'ema' or 'model'"
        )
    return found


def _from_lists(model: nn.Module, content: Mapping[Any, Any]) -> Iterator[Reading]:
    """Averages without names, where they are one per parameter, or per trained one, and of its shape."""
    parameters = dict(model.named_parameters())
    trained = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    for place, tensors in layouts.unnamed_averages(content):
        for names in (parameters, trained):
            if [tensor.shape for tensor in tensors] == [parameter.shape for parameter in names.values()]:
                yield Reading(dict(zip(names, tensors, strict=True)), place)
                break


def _ready(reading: Reading, where: str) -> Reading:
    """The reading in the network's own names."""
    if not reading.diffusers:
        return reading
    check_kinds(reading.state, where)
    return replace(reading, state=dit_names.to_official(reading.state))


def _completed(model: nn.Module, reading: Reading, offers: Sequence[Reading]) -> Reading:
    """With what averages do not hold since no step changes it: from the other weights of the checkpoint."""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    state = dict(reading.state)
    for name, own in model.state_dict().items():
        if name not in state and name not in trained:
            donor = next((offer.state[name] for offer in offers if name in offer.state), None)
            if reading.averaged and donor is not None:
                state[name] = donor
            elif reading.diffusers and name == dit_names.POSITIONS:
                state[name] = own
    return replace(reading, state=state)


def _translated(model: nn.Module, content: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], list[str]]:
    """Under the network's names, where its family (`translated`) or unet_names knows the checkpoint's own, and what was
    chosen."""
    if type(model).__name__ == unet_names.CLASS:
        return unet_names.in_diffusers_names(content)
    translate = getattr(import_module(type(model).__module__), "translated", None)
    return (translate(content, model.config) if translate else content), []


def _fitted(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    fit = getattr(import_module(type(model).__module__), "fit_checkpoint", None)
    return fit(state, model.config) if fit else state


def check_kinds(state: Mapping[str, Tensor], where: str, expected: Mapping[str, Tensor] | None = None) -> None:
    """Raise DimbenchError for the first tensor that does not hold plain numbers, or not of the kind `expected`."""
    for name, tensor in state.items():
        fault = _oddity(tensor)
        if not fault and expected is not None and name in expected:
            whole, floats = not expected[name].is_floating_point(), tensor.is_floating_point()
            if whole == floats and not expected[name].is_complex():
                fault = f"of {_kind(tensor)} where {'whole numbers' if whole else 'floats'} are expected"
        if fault:
            raise DimbenchError(f"in {where}, {plain(name)} is {fault}; save the plain weights of the network")


def _oddity(tensor: Tensor) -> str:
    if type(tensor) not in (Tensor, nn.Parameter):
        gather = ", a part of a distributed tensor: gather it with full_tensor()" if _distributed(tensor) else ""
        return f"a {type(tensor).__name__}{gather}"
    if tensor.is_meta:
        return "a meta tensor, which has a shape and no values"
    if tensor.is_quantized:
        return f"quantised ({_kind(tensor)})"
    if tensor.dtype == torch.float4_e2m1fn_x2:
        return f"packed, two numbers in each element ({_kind(tensor)})"
    if tensor.is_nested or tensor.layout != torch.strided:
        return f"{'nested' if tensor.is_nested else 'sparse'}, not a plain array of numbers"
    return f"complex ({_kind(tensor)})" if tensor.is_complex() else ""


def _distributed(tensor: Tensor) -> bool:
    return type(tensor).__name__ in ("DTensor", "ShardedTensor")


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def shapes(state: Mapping[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


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
        f"{len(names)} {kind} ({', '.join(map(plain, names[:_SHOWN]))}{', ...' if len(names) > _SHOWN else ''})"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        if names
    )


def _notes(taken: Reading, offers: Sequence[Reading], passed: Sequence[tuple[Reading, str]]) -> list[str]:
    """What was chosen of several places, why others were not, and what was left out."""
    said = [
        f"The averages under {plain(reading.place)} were not taken, since they do not fit: {faults}."
        for reading, faults in passed
        if reading.averaged
    ]
    others = [plain(repr(reading.place)) for reading in offers if reading is not taken]
    if taken.averaged or others:
        instead = f", not those under {', '.join(others)}" if others else ""
        what = "averaged weights" if taken.averaged else "weights"
        said.append(f"The {what} under {plain(repr(taken.place))} were taken{instead}.")
    if left := taken.left_out:
        shown = f"{', '.join(map(plain, left[:_SHOWN]))}{', ...' if len(left) > _SHOWN else ''}"
        said.append(f"{len(left)} tensor{'s' * (len(left) > 1)} of training alone left out: {shown}.")
    return said


def _place_table(state: dict[str, Tensor], config: Mapping[str, Any] | None) -> str:
    """Add the position table that diffusers makes when it builds a DiT; returns for which size."""
    width, _, patch, _ = state["x_embedder.proj.weight"].shape
    said = (config or {}).get("sample_size")
    side = said if isinstance(said, int) and patch <= said <= 2**12 else _USUAL_LATENT
    state[dit_names.POSITIONS] = sincos_2d(width, side // patch)
    source = "as its config.json says" if side == said else "which nothing in it says"
    return f"In diffusers' names and without a table of positions: taken to be for latents of side {side}, {source}."


def _layout(content: Mapping[Any, Any]) -> str:
    if any(isinstance(value, Tensor) for value in content.values()):
        return "state dict"
    return f"{{{', '.join(map(plain, content))}}}"
