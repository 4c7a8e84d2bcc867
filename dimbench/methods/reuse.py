"""Reuse of what a network's parts put out: computed every few steps, predicted in between."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from dimbench.methods.method import Method, OnStep, no_effect, refuse, replaced

if TYPE_CHECKING:
    from torch import Tensor, nn

_BRANCH = re.compile(r"(attn|mlp|ff|spatial_mamba|freq_mamba|mixer|proj)\d*")


def branches(method: Method, network: nn.Module) -> list[nn.Module]:
    """The parts of the network's blocks whose outputs are added to its tokens: attention, mixers, feed-forward
    networks. UsageError where there are none by these names."""
    from torch import nn

    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    blocks = {id(block): block for each in lists for block in each}.values()
    found = [part for block in blocks for name, part in block.named_children() if _BRANCH.fullmatch(name)]
    if not found:
        raise refuse(method, network, "none of its blocks has an attention or feed-forward network as a part")
    return found


class Reused:
    """`forward`, called once in `every` steps for each shape of its first argument, and in between predicted from the
    differences up to `order` of what it gave: sum over i of D^i (m / every)^i / i!, m steps after the last call."""

    def __init__(self, forward: Callable[..., Tensor], every: int, order: int = 0) -> None:
        self.forward, self.every, self.order = forward, every, order
        self.step = self.left_out = 0
        self.known: dict[tuple[int, ...], tuple[int, list[Tensor]]] = {}

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        at, differences = self.known.get(tuple(x.shape), (-self.every, []))
        ahead = self.step - at
        if ahead >= self.every:
            new = [self.forward(x, *args, **kwargs)]
            for old in differences[: self.order] if ahead == self.every else []:
                new.append(new[-1] - old)
            self.known[tuple(x.shape)] = self.step, new
            return new[0]
        if ahead == 0:  # a second call within a step, as Heun's
            return self.forward(x, *args, **kwargs)
        self.left_out += 1
        output, weight = differences[0], 1.0
        for i, difference in enumerate(differences[1:], start=1):
            weight *= ahead / self.every / i
            output = output + weight * difference
        return output


@contextmanager
def reusing(method: Method, parts: list[nn.Module], every: int, order: int = 0) -> Iterator[OnStep]:
    """Inside, each of the `parts` is Reused."""
    with ExitStack() as stack:
        reused = [Reused(part.forward, every, order) for part in parts]
        for part, forward in zip(parts, reused, strict=True):
            stack.enter_context(replaced(part, forward))

        def step(k: int) -> None:
            for each in reused:
                each.step = k

        yield step
    if every > 1 and not any(each.left_out for each in reused):
        raise no_effect(method, "no step was left out")
