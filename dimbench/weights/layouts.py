"""How weights lie in what a checkpoint holds: in containers, under prefixes, beside averages and other training state.

No list of containers or prefixes is kept: a place holds a network's weights if tensors there end in the names of the
network, whatever stands before them.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

_LIST = "shadow_params"  # what averages without names are called by the libraries that keep them
_WRAPPERS = {"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Attributes under which torch's wrappers keep what they wrap, anywhere in a name."""

_AVERAGE = re.compile(r"(?<![a-z])(?<!non_)(?<!non-)(ema|emas|swa)(?![a-z])|averag|shadow|polyak")
_OPTIMISER = re.compile(r"^(opt|optim.*|.*optimi[sz]ers?(_.*)?|.*scheduler.*|.*scaler.*|rng.*|.*random_state.*)$")
# Heads that only a training loss reads, by the first part of their names; and what averages count.
_TRAINING = re.compile(
    r"^(projectors?|projection_heads?|proj_heads?|aux|aux_.*|.*_aux|auxiliary.*|criterion|loss|loss_.*|.*_loss|"
    r"discriminator|lpips|metrics?|repa.*|teacher)$"
)
_COUNTERS = re.compile(r"^(n_averaged|num_updates|num_averaged|decay|initted|steps?|.*_steps?|epochs?|iter(ations?)?)$")


@dataclass(frozen=True)
class Reading:
    """One way to take weights from a checkpoint: `state` by the network's own names, or by those that diffusers gives
    them, found at `place` ("": all there is); `left_out` lay beside them and belongs to training alone."""

    state: dict[str, Tensor]
    place: str
    left_out: tuple[str, ...] = ()
    diffusers: bool = False

    @property
    def averaged(self) -> bool:
        return _says_average(self.place)


def readings(content: Mapping[Any, Any], known: Collection[str]) -> list[Reading]:
    """The places in a checkpoint that hold tensors of a network with the `known` names: averages first, then those
    with more of them, then as the file has them. Without any, the first place that holds tensors at all."""
    known = frozenset(known)
    found, others = [], []
    for path, holder in _containers(content):
        tensors = {name: value for name, value in holder.items() if isinstance(name, str) and isinstance(value, Tensor)}
        groups = _groups(tensors, known)
        found += [
            (len(known & state.keys()), Reading(state, _place(path, prefix), out)) for prefix, state, out in groups
        ]
        if tensors and not groups:
            others.append(Reading(tensors, _place(path, "")))
    most = max((hits for hits, _ in found), default=0)
    near = [(hits, reading) for hits, reading in found if 2 * hits >= most]
    return [reading for _, reading in sorted(near, key=lambda pair: (not pair[1].averaged, -pair[0]))] or others[:1]


def unnamed_averages(content: Mapping[Any, Any]) -> list[tuple[str, list[Tensor]]]:
    """Averages that are kept as a list in the order of the network's parameters, with their places."""
    lists = [((*path, _LIST), holder.get(_LIST)) for path, holder in _containers(content)]
    return [
        (_place(path, ""), value)
        for path, value in lists
        if isinstance(value, list) and all(isinstance(each, Tensor) for each in value)
    ]


def _says_average(place: str) -> bool:
    return bool(_AVERAGE.search(place.replace("EMA", "_ema_").lower()))


def _containers(content: Mapping[Any, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """Each dictionary inside, once, outer ones first, and the way to it; not those of an optimiser."""
    seen = {id(content)}
    waiting: deque[tuple[tuple[str, ...], Mapping[Any, Any]]] = deque([((), content)])
    while waiting:
        path, holder = waiting.popleft()
        yield path, holder
        for name, value in holder.items():
            if isinstance(value, Mapping) and id(value) not in seen and not _OPTIMISER.match(str(name)):
                seen.add(id(value))
                waiting.append(((*path, str(name)), value))


def _place(path: tuple[str, ...], prefix: str) -> str:
    return ".".join((*path, prefix)).strip(".")


def _groups(
    tensors: Mapping[str, Tensor], known: frozenset[str]
) -> list[tuple[str, dict[str, Tensor], tuple[str, ...]]]:
    """(what stands before the names, state, left out) for each prefix under which a good part of the names lies."""
    parts = {name: _parted(name, known) for name in tensors}
    counts = Counter(part[0] for part in parts.values() if part is not None)
    most = max(counts.values(), default=0)
    prefixes = [prefix for prefix, count in counts.items() if 2 * count >= most]
    found = []
    for prefix in prefixes:
        state: dict[str, Tensor] = {}
        left_out = []
        for name, part in parts.items():
            own = _own_name(name, part, prefix, prefixes)
            if own is None:
                continue
            if own in state or (own not in known and _only_training(own, tensors[name], known)):
                left_out.append(name)
            else:
                state[own] = tensors[name]
        found.append((prefix, state, tuple(left_out)))
    return found + _without_dots(tensors, prefixes, known)


def _parted(name: str, known: frozenset[str]) -> tuple[str, str] | None:
    """(prefix, the network's own name) of a tensor, the prefix without the wrappers' attributes; None where it ends in
    no known name."""
    for spelling in (name, _unwrapped(name)):
        words = spelling.split(".")
        for start in range(len(words)):
            if (own := ".".join(words[start:])) in known:
                return _unwrapped(".".join(words[:start])), own
    return None


def _unwrapped(name: str) -> str:
    return ".".join(word for word in name.split(".") if word not in _WRAPPERS)


def _own_name(name: str, part: tuple[str, str] | None, prefix: str, prefixes: Sequence[str]) -> str | None:
    """What the network below `prefix` would call the tensor; None where it lies elsewhere."""
    if part is not None and part[0] in prefixes:
        return part[1] if part[0] == prefix else None
    bare = _unwrapped(name)
    holder = max((each for each in prefixes if not each or bare.startswith(f"{each}.")), key=len, default=None)
    return bare[len(prefix) :].removeprefix(".") if holder == prefix else None


def _only_training(name: str, tensor: Tensor, known: frozenset[str]) -> bool:
    root = name.split(".")[0]
    if any(own.split(".")[0] == root for own in known):
        return False
    return bool(_TRAINING.match(root)) or (tensor.numel() == 1 and bool(_COUNTERS.match(name)))


def _without_dots(
    tensors: Mapping[str, Tensor], prefixes: Sequence[str], known: frozenset[str]
) -> list[tuple[str, dict[str, Tensor], tuple[str, ...]]]:
    """Averages that latent diffusion's trainers keep beside the weights, in buffers whose names have lost the dots."""
    spellings = {
        f"{before}.{own}".replace(".", ""): own
        for prefix in prefixes
        for before in (prefix, prefix.partition(".")[2])
        for own in known
    }
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        before, _, last = name.rpartition(".")
        if _says_average(before) and last in spellings:
            found.setdefault(before, {})[spellings[last]] = tensor
    return [(before, state, ()) for before, state in found.items()]
