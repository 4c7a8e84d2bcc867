from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dimbench.methods.method import Method, OnStep, check_range, no_effect, refuse, replaced, skipped_all
from dimbench.methods.reuse import CHANGED, Untouched

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class FirstBlock(Method):
    """The other blocks are left out, and what they added last is added again, while what the first block adds differs
    from what it added then by less than `threshold` of its mean size. Depends on values, for a batch as a whole."""

    threshold: float = 0.1

    name: ClassVar[str] = "first-block"
    changes: ClassVar[str] = "what the blocks compute"
    says: ClassVar[str] = "all blocks but the first left out while the first one's output changes by under `threshold`"
    wraps: ClassVar[str] = "a chain of blocks that pass on tokens"
    by_values: ClassVar[bool] = True
    source: ClassVar[str] = "First Block Cache of ParaAttention, after TeaCache, arXiv 2411.19108"

    def __post_init__(self) -> None:
        check_range(self, "threshold", 0)

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        return [cls(threshold=threshold) for threshold in (0.1, 0.2, 0.4)]

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[OnStep]:
        blocks = chain(self, network)
        rest = _Rest(self, network, blocks[0].forward, blocks[-1].forward)
        with ExitStack() as stack:
            stack.enter_context(replaced(blocks[0], rest.first))
            for block in blocks[1:-1]:
                stack.enter_context(replaced(block, rest.passing(block.forward)))
            stack.enter_context(replaced(blocks[-1], rest.last))
            yield lambda k: None
        if self.threshold and not rest.left_out:
            raise no_effect(self, "the first block's output always changed by more")
        if rest.left_out and rest.left_out == rest.calls - len(rest.known):
            raise skipped_all(self, rest.calls, "call")


def chain(method: Method, network: nn.Module) -> nn.ModuleList:
    """The blocks of a network that are called one after the other. UsageError where it is not built so."""
    from torch import nn

    blocks = getattr(network, "blocks", None)
    if not isinstance(blocks, nn.ModuleList) or len(blocks) < 2:
        raise refuse(method, network, "it is no chain of two or more blocks")
    return blocks


IN_TURN = "it does not call its blocks one after the other, each once"


def tokens_of(method: Method, network: nn.Module, args: Sequence[Any], within: bool) -> Tensor:
    """Those that its first block is given. UsageError where it is told them by name, or is called `within` the chain
    that it began."""
    if within:
        raise refuse(method, network, IN_TURN)
    if not args:
        raise refuse(method, network, "its blocks are told their tokens by name; have it give them first, unnamed")
    return args[0]


class _Rest:
    """For each shape, what the first block and the others added when they last ran."""

    def __init__(
        self, method: FirstBlock, network: nn.Module, first: Callable[..., Tensor], last: Callable[..., Tensor]
    ) -> None:
        self.method, self.network = method, network
        self._first, self._last = first, last
        self.known: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        self.calls = self.left_out = 0
        self.skips = self._within = False
        self._input, self._after = Untouched(), Untouched()
        self.tokens: Tensor  # of the running call, after the first block
        self.added: Tensor  # by that

    def first(self, *args: Any, **kwargs: Any) -> Tensor:
        x = tokens_of(self.method, self.network, args, self._within)
        self._within = True
        self._input.note(x)
        tokens = self._first(*args, **kwargs)
        if not isinstance(tokens, type(x)):
            raise refuse(self.method, self.network, "its blocks pass on more than tokens")
        if not self._input.still():
            raise refuse(self.method, self.network, CHANGED)
        self._after.note(tokens)
        self.tokens, self.added = tokens, tokens - x
        self.calls += 1
        self.skips = False
        if x.shape in self.known:
            before = self.known[x.shape][0]
            self.skips = bool((self.added - before).abs().mean() < self.method.threshold * before.abs().mean())
        self.left_out += self.skips
        return tokens

    def passing(self, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """`forward`, or nothing at all in a call that is left out."""
        return lambda x, *args, **kwargs: x if self.skips else forward(x, *args, **kwargs)

    def last(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not self._within:
            raise refuse(self.method, self.network, IN_TURN)
        self._within = False
        if self.skips:
            return self.tokens + self.known[x.shape][1]
        output = self._last(x, *args, **kwargs)
        if output.shape != self.tokens.shape:
            raise refuse(self.method, self.network, "its blocks do not all pass on as many tokens")
        if not self._after.still():
            raise refuse(self.method, self.network, CHANGED)
        self.known[x.shape] = self.added, output - self.tokens
        return output
