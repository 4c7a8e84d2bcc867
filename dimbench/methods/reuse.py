"""Reuse of what a network's parts put out: computed every few steps, predicted in between."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from dimbench.methods.method import Method, OnStep, refuse, replaced
from dimbench.methods.pace import Pace

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dimbench.layers.adaln import AdaLNZeroBlock

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


@contextmanager
def _unread(block: AdaLNZeroBlock, reused: Mapping[str, Reused], pace: Pace) -> Iterator[None]:
    """Inside, what only the `reused` branches of a block read is not computed where they do not look at it: their norms
    are those of one token, and of the modulation the gates alone are computed."""
    with ExitStack() as stack:
        idle = {name: _idle(block.get_submodule(name), each, pace) for name, each in reused.items()}
        for name, unread in idle.items():
            norm = block.get_submodule(block.serving[name][0])
            stack.enter_context(replaced(norm, _of_one_token(norm.forward, unread)))
        if idle.keys() == block.serving.keys():
            gates = [gate for _, gate in block.serving.values()]
            modulation = block.adaLN_modulation
            unread = lambda: all(each() for each in idle.values())  # noqa: E731
            stack.enter_context(replaced(modulation, _of_gates(modulation, gates, unread)))
        yield


def _idle(part: nn.Module, reused: Reused, pace: Pace) -> Callable[[], bool]:
    """Whether a part neither computes nor is looked at by another method."""
    return lambda: part.forward is reused and not pace.computed


def _of_one_token(norm: Callable[[Tensor], Tensor], unread: Callable[[], bool]) -> Callable[[Tensor], Tensor]:
    return lambda x: norm(x[:, :1] if unread() else x)


def _of_gates(modulation: nn.Sequential, gates: list[int], unread: Callable[[], bool]) -> Callable[[Tensor], Tensor]:
    """The modulation, zero but for its gates where the rest is unread and no method has changed its weights."""
    from torch import nn
    from torch.nn import functional

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
            found[..., rows] = functional.linear(h, linear.weight[rows], linear.bias[rows])
        return found

    return parts


@contextmanager
def reusing(method: Method, network: nn.Module, parts: list[nn.Module], every: int, order: int = 0) -> Iterator[OnStep]:
    """Inside, each of the `parts` of `network` is Reused."""
    from dimbench.layers.adaln import AdaLNZeroBlock

    pace = Pace(every, most=order + 1)
    with ExitStack() as stack:
        stack.enter_context(pace.over(method, network))
        reused = {part: Reused(part.forward, pace, order) for part in parts}
        for part, forward in reused.items():
            stack.enter_context(replaced(part, forward))
        for block in (each for each in network.modules() if isinstance(each, AdaLNZeroBlock)):
            named = {name: reused.get(block.get_submodule(name)) for name in block.serving}
            stack.enter_context(_unread(block, {name: each for name, each in named.items() if each}, pace))
        yield pace.tell
