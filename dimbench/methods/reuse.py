"""Reuse of what a network's parts put out: computed every few steps, predicted in between."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dimbench.methods.method import Method, OnStep, refuse, replaced
from dimbench.methods.pace import Pace, first_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dimbench.layers.adaln import AdaLNZeroBlock

_SELF = re.compile(r"attn1?")
_ATTENTION = r"(cross_)?att(entio)?n"
_FEED_FORWARD = r"((img|txt)_)?(mlp|ffn?|feed_?forward|moe)(_context)?"
_TEXT = re.compile(r"(^|[._])(context|txt)([._]|$)|(^|\.)context_")
_BRANCH = re.compile(rf"({_ATTENTION}|{_FEED_FORWARD}|spatial_mamba|freq_mamba|mixer|proj(_mlp|_out)?)\d*")


def branches(method: Method, network: nn.Module) -> list[nn.Module]:
    """The parts of the network's blocks whose outputs are added to its tokens: attention, mixers, feed-forward
    networks, but for parts of these. UsageError where there are none by these names, and none that a block calls its
    `reusable_parts`."""
    return branches_of(method, network, _blocks(network))


def branches_of(method: Method, network: nn.Module, blocks: Iterable[nn.Module]) -> list[nn.Module]:
    """Those of these blocks of it."""
    return [branch.part for branch in _branches(method, network, blocks)]


def image_branches(method: Method, network: nn.Module) -> list[Branch]:
    """The branches that are told the image's tokens, as their names have it."""
    return [branch for branch in _branches(method, network, _blocks(network)) if not _TEXT.search(branch.name)]


@dataclass(frozen=True)
class Branch:
    """A part of a block, by its name there."""

    block: nn.Module
    name: str
    part: nn.Module

    @property
    def before(self) -> int:
        """How many tokens stand before the image's."""
        return getattr(self.block, "tokens_before", 0)

    @property
    def joint(self) -> bool:
        """Whether it is told a text, then the image, and gives the tokens of both in this order, or the image's."""
        return self.name == getattr(self.block, "joint_part", "")


def _branch(method: Method, network: nn.Module, block: nn.Module, name: str, part: nn.Module) -> Branch:
    found = Branch(block, name, part)
    if type(found.before) is not int or found.before < 0:
        kind = type(block).__name__
        raise refuse(method, network, f"tokens_before of a {kind} is {found.before!r}; give a whole number, 0 or more")
    return found


def _branches(method: Method, network: nn.Module, blocks: Iterable[nn.Module]) -> list[Branch]:
    found = []
    for block in blocks:
        parts = dict(block.named_modules())
        for name in _named(block):
            if name not in parts:
                raise refuse(method, network, f"a {type(block).__name__} has no part {name!r} of its reusable_parts")
            found.append(_branch(method, network, block, name, parts[name]))
    if not found:
        raise refuse(
            method,
            network,
            "none of its blocks has a part called like attention or a feed-forward network, attn or mlp",
        )
    within = {id(inner) for branch in found for inner in branch.part.modules() if inner is not branch.part}
    return [branch for branch in found if id(branch.part) not in within]


def _named(block: nn.Module) -> Sequence[str]:
    from torch.nn.modules.conv import _ConvNd

    own = getattr(block, "reusable_parts", None)
    if isinstance(own, (list, tuple)):
        return own
    children = block.named_children()
    return [name for name, child in children if _BRANCH.fullmatch(name) and not isinstance(child, _ConvNd)]


def attentions(method: Method, network: nn.Module) -> list[Branch]:
    """The self-attentions of the network's blocks, and those of a text and an image to each other. UsageError where
    there are none by that name, and none that a block calls its `joint_part`."""
    found = [
        _branch(method, network, block, name, part)
        for block in _blocks(network)
        for name, part in block.named_children()
        if (_SELF.fullmatch(name) or name == getattr(block, "joint_part", "")) and not scans(part)
    ]
    if not found:
        raise refuse(method, network, "none of its blocks has a part called like self-attention, attn")
    return found


def scans(part: nn.Module) -> bool:
    """Whether it mixes tokens along an order of them."""
    from dimbench.layers.mamba import Mixer

    return any(isinstance(module, Mixer) for module in part.modules())


def linears(method: Method, network: nn.Module) -> list[nn.Linear]:
    """The linear layers of the network's blocks, but for those that are told more than their input. UsageError where
    there are none."""
    from torch import nn

    found = {id(m): m for block in _blocks(network) for m in block.modules()
             if isinstance(m, nn.Linear) and type(m).forward is nn.Linear.forward}  # fmt: skip
    if not found:
        raise refuse(method, network, "its blocks hold no linear layer")
    return list(found.values())


def _blocks(network: nn.Module) -> list[nn.Module]:
    """The entries of its lists, and what is built as one of them and lies outside, as a middle block does; each
    once."""
    from torch import nn

    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    listed = [block for each in lists for block in each]
    kinds = {type(block) for block in listed if not type(block).__module__.startswith("torch.")}
    alone = [module for module in network.modules() if type(module) in kinds]
    return list({id(block): block for block in (*listed, *alone)}.values())


CALLED_AGAIN = "it calls one of its parts several times, whose outputs are not told apart"
CHANGED = "it changes in place what is kept of it for other steps; have it make new tensors, as in x = x + y"


class Untouched:
    """That a network leaves as it is what is kept of it: `still` looks once at the first output that was noted."""

    def __init__(self) -> None:
        self._marks: list[tuple[Tensor, Tensor]] | None = None

    def note(self, output: Any) -> None:
        """`output` is a tensor, or several, among others."""
        if self._marks is None:
            parts = output if isinstance(output, (tuple, list)) else [output]
            tensors = [x for x in parts if hasattr(x, "is_meta") and not x.is_meta and x.is_floating_point()]
            self._marks = [(x, _mark(x)) for x in tensors]

    def still(self) -> bool:
        marks, self._marks = self._marks, None if self._marks is None else []
        return all(bool(((now := _mark(x)) == before).logical_or(now.isnan()).all()) for x, before in marks or ())


def _mark(x: Tensor) -> Tensor:
    """Two numbers that a change would not leave as they are."""
    import torch

    return torch.stack([x.sum(), torch.linalg.vector_norm(x)])


class Reused:
    """`forward`, called where `pace` computes, and in between predicted from the differences up to `order` of what it
    gave: sum over i of D^i (m / every)^i / i!, m steps after the last kept call. UsageError where the network calls it
    twice in a call of its own, with as many tokens as it chooses, or changes in place what it gave."""

    def __init__(self, forward: Callable[..., Tensor], pace: Pace, order: int = 0) -> None:
        self.forward, self.pace, self.order = forward, pace, order
        self.known: dict[tuple[int, ...], list[Tensor]] = {}
        self._call = 0
        self._first = Untouched()
        self._rows: dict[tuple[int, ...], int] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        pace = self.pace
        if pace.calls and pace.calls == self._call:
            raise pace.refuse(CALLED_AGAIN)
        self._call = pace.calls
        if not self._first.still():
            raise pace.refuse(CHANGED)
        rows = len(first_of(args, kwargs))
        if rows != self._rows.setdefault(pace.shape, rows):
            raise pace.refuse("it gives one of its parts other tokens from step to step")
        if not pace.computed:
            return self._predicted(self.known[pace.shape])
        output = self.forward(*args, **kwargs)
        if self.order and not hasattr(output, "is_meta"):
            raise pace.refuse("its parts give more than one tensor, which have no series")
        if pace.kept and pace.every > 1:  # else it would only be in the way of what follows, in the cache
            self._first.note(output)
            new = [output]
            for old in self.known.get(pace.shape, ())[: min(self.order, pace.behind)]:
                new.append(new[-1] - old)
            self.known[pace.shape] = new
        return output

    def _predicted(self, differences: list[Tensor]) -> Tensor:
        output, weight = differences[0], 1.0
        for i, difference in enumerate(differences[1:], start=1):
            weight *= self.pace.ahead / self.pace.every / i
            output = output + weight * difference
        return output


@contextmanager
def _unread(block: AdaLNZeroBlock, reused: Collection[str], pace: Pace) -> Iterator[None]:
    """Inside, what only the `reused` branches of a block read is not computed where they do not look at it: their norms
    are those of one token, and of the modulation the gates alone are computed."""
    with ExitStack() as stack:
        for name in reused:
            norm = block.get_submodule(block.serving[name][0])
            stack.enter_context(replaced(norm, _of_one_token(norm.forward, lambda: not pace.computed)))
        if set(reused) == block.serving.keys():
            gates = [gate for _, gate in block.serving.values()]
            modulation = block.adaLN_modulation
            stack.enter_context(replaced(modulation, _of_gates(modulation, gates, lambda: not pace.computed)))
        yield


def _of_one_token(norm: Callable[[Tensor], Tensor], unread: Callable[[], bool]) -> Callable[[Tensor], Tensor]:
    return lambda x: norm(x[:, :1] if unread() else x)


def _of_gates(modulation: nn.Sequential, gates: list[int], unread: Callable[[], bool]) -> Callable[[Tensor], Tensor]:
    """The modulation, zero but for its gates where the rest is unread and no method has changed its weights."""
    from torch import nn

    from dimbench.kernels import onednn

    forward, linear = modulation.forward, modulation[-1]
    assert isinstance(linear, nn.Linear)
    width = linear.out_features // (max(gates) + 1)

    def parts(c: Tensor) -> Tensor:
        if not unread() or "forward" in vars(linear) or type(linear.weight) is not nn.Parameter:
            return forward(c)
        h = modulation[:-1](c)
        found = h.new_zeros(*h.shape[:-1], linear.out_features)
        for gate in gates:
            rows = slice(gate * width, (gate + 1) * width)
            found[..., rows] = onednn.linear_of_few_rows(h, linear.weight[rows], linear.bias[rows])
        return found

    return parts


@contextmanager
def reusing(method: Method, network: nn.Module, parts: list[nn.Module], every: int, order: int = 0) -> Iterator[OnStep]:
    """Inside, each of the `parts` of `network` is Reused."""
    from dimbench.layers.adaln import AdaLNZeroBlock

    pace = Pace(every, most=order + 1)
    with ExitStack() as stack:
        stack.enter_context(pace.over(method, network))
        for part in parts:
            stack.enter_context(replaced(part, Reused(part.forward, pace, order)))
        for block in (each for each in network.modules() if isinstance(each, AdaLNZeroBlock)):
            reused = [name for name in block.serving if block.get_submodule(name) in parts]
            stack.enter_context(_unread(block, reused, pace))
        yield pace.tell
