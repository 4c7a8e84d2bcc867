from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import add, sub
from typing import TYPE_CHECKING, Any, ClassVar

from dimbench.methods.method import Method, OnStep, check_range, no_effect, refuse, replaced, skipped_all
from dimbench.methods.reuse import CHANGED, Untouched
from dimbench.methods.state import halves

if TYPE_CHECKING:
    from torch import Tensor, nn

    Streams = tuple[Tensor, ...]


@dataclass(frozen=True)
class FirstBlock(Method):
    """The other blocks are left out, and what they added last is added again, while what the first block adds differs
    from what it added then by less than `threshold` of its mean size, of all streams of tokens where it passes on
    several. Depends on values, for a batch as a whole."""

    threshold: float = 0.1

    name: ClassVar[str] = "first-block"
    changes: ClassVar[str] = "what the blocks compute"
    says: ClassVar[str] = "all blocks but the first left out while the first one's output changes by under `threshold`"
    wraps: ClassVar[str] = "a chain of blocks that pass on tokens, or streams of them"
    source: ClassVar[str] = "First Block Cache of ParaAttention, after TeaCache, arXiv 2411.19108"

    def __post_init__(self) -> None:
        check_range(self, "threshold", 0)

    @property
    def by_values(self) -> bool:  # type: ignore[override]
        return self.threshold > 0

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
                stack.enter_context(replaced(block, rest.passing.around(block.forward, lambda: rest.skips)))
            stack.enter_context(replaced(blocks[-1], rest.last))
            yield lambda k: None
        if self.threshold and not rest.left_out:
            raise no_effect(self, "the first block's output always changed by more")
        if rest.left_out and rest.left_out == rest.calls - len(rest.known):
            raise skipped_all(self, rest.calls, "call")


def chain(method: Method, network: nn.Module) -> nn.ModuleList:
    """The blocks of a network that are called one after the other. UsageError where it is not built so."""
    from torch import nn

    if halves(network):
        raise refuse(method, network, "its encoder and its decoder are two chains, and the second's tokens begin anew")

    for name in _CHAINS:
        blocks = getattr(network, name, None)
        if isinstance(blocks, nn.ModuleList) and len(blocks) > 1:
            return blocks
    raise refuse(method, network, f"it is no chain of two or more blocks, called {' or '.join(_CHAINS)}")


_CHAINS = ("blocks", "joint_blocks")
IN_TURN = "it does not call its blocks one after the other, each once"


class Passing:
    """What the blocks of a chain hand on from one to the next: tokens, or several streams of them."""

    def __init__(self, method: Method, network: nn.Module) -> None:
        self.method, self.network = method, network
        self._several = self._within = False
        self._count = 1

    def begin(self, args: Sequence[Any]) -> tuple[int, ...]:
        """The shape of the first stream that the first block is given. UsageError where it is told its tokens by name,
        or is called within the chain that it began."""
        if self._within:
            raise refuse(self.method, self.network, IN_TURN)
        if not args:
            why = "its blocks are told their tokens by name; have it give them first, unnamed"
            raise refuse(self.method, self.network, why)
        self._within = True
        return tuple(args[0].shape)

    def end(self) -> None:
        """The last block is called."""
        if not self._within:
            raise refuse(self.method, self.network, IN_TURN)
        self._within = False

    def of(self, given: Sequence[Any], output: Any) -> tuple[Streams, Streams]:
        """The streams that were `given` first and those that came out. UsageError where they are not as many, or not of
        as many tokens."""
        self._several = isinstance(output, tuple)
        after = output if self._several else (output,)
        self._count = len(after)
        before = tuple(given[: self._count])
        if len(before) < self._count or not all(hasattr(x, "is_meta") for x in (*before, *after)):
            raise refuse(self.method, self.network, "its blocks pass on more than the tokens that its first is given")
        if any(x.shape != y.shape for x, y in zip(before, after, strict=True)):
            raise refuse(self.method, self.network, "its blocks do not all pass on as many tokens")
        return before, after

    def on(self, streams: Sequence[Tensor]) -> Any:
        """The first of them as a block hands them on."""
        return tuple(streams[: self._count]) if self._several else streams[0]

    def around(self, forward: Callable[..., Any], skips: Callable[[], bool]) -> Callable[..., Any]:
        """`forward`, or nothing at all where `skips` says so."""
        return lambda *args, **kwargs: self.on(args) if skips() else forward(*args, **kwargs)


def size(streams: Streams) -> Tensor:
    """The mean magnitudes of the streams together."""
    first, *others = (x.abs().mean() for x in streams)
    return sum(others, first)


class _Rest:
    """For each shape, what the first block and the others added when they last ran."""

    def __init__(
        self, method: FirstBlock, network: nn.Module, first: Callable[..., Any], last: Callable[..., Any]
    ) -> None:
        self.method, self.network = method, network
        self._first, self._last = first, last
        self.passing = Passing(method, network)
        self.known: dict[tuple[int, ...], tuple[Streams, Streams]] = {}
        self.calls = self.left_out = 0
        self.skips = False
        self._input, self._after = Untouched(), Untouched()
        self.shape: tuple[int, ...]  # of the running call
        self.tokens: Streams  # of it, after the first block
        self.added: Streams  # by that

    def first(self, *args: Any, **kwargs: Any) -> Any:
        self.shape = self.passing.begin(args)
        self._input.note(args)
        output = self._first(*args, **kwargs)
        before, self.tokens = self.passing.of(args, output)
        if not self._input.still():
            raise refuse(self.method, self.network, CHANGED)
        self._after.note(self.tokens)
        self.added = tuple(map(sub, self.tokens, before))
        self.calls += 1
        self.skips = False
        if self.method.threshold and self.shape in self.known:
            known = self.known[self.shape][0]
            self.skips = bool(size(tuple(map(sub, self.added, known))) < self.method.threshold * size(known))
        self.left_out += self.skips
        return output

    def last(self, *args: Any, **kwargs: Any) -> Any:
        self.passing.end()
        if self.skips:
            return self.passing.on(tuple(map(add, self.tokens, self.known[self.shape][1])))
        output = self._last(*args, **kwargs)
        _, after = self.passing.of(self.tokens, output)
        if not self._after.still():
            raise refuse(self.method, self.network, CHANGED)
        self.known[self.shape] = self.added, tuple(map(sub, after, self.tokens))
        return output
