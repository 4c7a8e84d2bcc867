"""Reuse of what a network's parts put out: computed every few steps, predicted in between."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from dimbench.methods.method import Method, OnStep, refuse, replaced
from dimbench.methods.pace import Pace

if TYPE_CHECKING:
    from torch import Tensor, nn

_SELF = re.compile(r"attn1?")
_BRANCH = re.compile(r"(attn|mlp|ff|spatial_mamba|freq_mamba|mixer|proj)\d*")


def branches(method: Method, network: nn.Module) -> list[nn.Module]:
    """The parts of the network's blocks whose outputs are added to its tokens: attention, mixers, feed-forward
    networks. UsageError where there are none by these names."""
    return branches_of(method, network, _blocks(network))


def branches_of(method: Method, network: nn.Module, blocks: Iterable[nn.Module]) -> list[nn.Module]:
    """Those of these blocks of it."""
    found = [part for block in blocks for name, part in block.named_children() if _BRANCH.fullmatch(name)]
    if not found:
        raise refuse(method, network, "none of its blocks has an attention or feed-forward network as a part")
    return found


def attentions(method: Method, network: nn.Module) -> list[nn.Module]:
    """The self-attentions of the network's blocks. UsageError where there are none by that name."""
    found = [part for block in _blocks(network) for name, part in block.named_children() if _SELF.fullmatch(name)]
    if not found:
        raise refuse(method, network, "none of its blocks has a self-attention as a part")
    return found


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
    """The entries of its lists, each once."""
    from torch import nn

    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    return list({id(block): block for each in lists for block in each}.values())


class Reused:
    """`forward`, called where `pace` computes, and in between predicted from the differences up to `order` of what it
    gave: sum over i of D^i (m / every)^i / i!, m steps after the last kept call."""

    def __init__(self, forward: Callable[..., Tensor], pace: Pace, order: int = 0) -> None:
        self.forward, self.pace, self.order = forward, pace, order
        self.known: dict[tuple[int, ...], list[Tensor]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        pace = self.pace
        if not pace.computed:
            return self._predicted(self.known[pace.shape])
        output = self.forward(*args, **kwargs)
        if pace.kept:
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


def _norms_of(network: nn.Module) -> dict[nn.Module, nn.Module]:
    """By the branch of a block the norm that nothing else reads, where blocks say so."""
    return {
        block.get_submodule(branch): block.get_submodule(norm)
        for block in network.modules()
        for branch, norm in getattr(block, "read_by_one", {}).items()
    }


def _unread(norm: nn.Module, part: nn.Module, reused: Reused) -> Callable[[Tensor], Tensor]:
    """The norm, of one token alone where `part` is `reused` and does not look at it."""
    forward = norm.forward
    return lambda x: forward(x if reused.pace.computed or part.forward is not reused else x[:, :1])


@contextmanager
def reusing(method: Method, network: nn.Module, parts: list[nn.Module], every: int, order: int = 0) -> Iterator[OnStep]:
    """Inside, each of the `parts` of `network` is Reused."""
    pace, norms = Pace(every, most=order + 1), _norms_of(network)
    with ExitStack() as stack:
        stack.enter_context(pace.over(method, network))
        for part in parts:
            reused = Reused(part.forward, pace, order)
            stack.enter_context(replaced(part, reused))
            if norm := norms.get(part):
                stack.enter_context(replaced(norm, _unread(norm, part, reused)))
        yield pace.tell
