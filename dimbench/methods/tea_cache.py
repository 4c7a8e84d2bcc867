from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from operator import add, sub
from typing import TYPE_CHECKING, Any, ClassVar

from dimbench.methods.first_block import Passing, chain
from dimbench.methods.method import Method, OnStep, check_range, no_effect, refuse, replaced, skipped_all
from dimbench.methods.reuse import CHANGED, Untouched, branches_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dimbench.methods.first_block import Streams


@dataclass(frozen=True)
class TeaCache(Method):
    """All blocks are left out, and what they added last is added again, until the input of the first branch, normed and
    modulated by the time, has changed by `threshold` of its mean size, the changes of the steps added up. The
    published one corrects the change by a polynomial fitted to each network, which is left out here."""

    threshold: float = 0.2

    name: ClassVar[str] = "teacache"
    changes: ClassVar[str] = "what the blocks compute"
    says: ClassVar[str] = "all blocks left out until the modulated input has changed by `threshold`"
    wraps: ClassVar[str] = "a chain of blocks that pass on tokens, or streams of them"
    source: ClassVar[str] = "TeaCache, arXiv 2411.19108, without its fitted polynomial"

    def __post_init__(self) -> None:
        check_range(self, "threshold", 0)

    @property
    def by_values(self) -> bool:  # type: ignore[override]
        return self.threshold > 0

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        return [cls(threshold=threshold) for threshold in (0.2, 0.5)]

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[OnStep]:
        blocks = chain(self, network)
        branch = modulated(self, network, blocks[0])
        all_ = _All(self, network, blocks[0].forward, blocks[-1].forward, branch)
        with ExitStack() as stack:
            stack.enter_context(replaced(blocks[0], all_.first))
            for block in blocks[1:-1]:
                stack.enter_context(replaced(block, all_.passing.around(block.forward, lambda: all_.skips)))
            stack.enter_context(replaced(blocks[-1], all_.last))
            yield lambda k: None
        if self.threshold and not all_.left_out:
            raise no_effect(self, "the modulated input always changed by more")
        if all_.left_out and all_.left_out == all_.calls - len(all_.added):
            raise skipped_all(self, all_.calls, "call")


def modulated(method: Method, network: nn.Module, block: nn.Module) -> nn.Module:
    """The part of the block whose input is normed and modulated tokens: the one that it names `modulated_part`, else
    its first branch."""
    own = getattr(block, "modulated_part", "")
    return block.get_submodule(own) if own else branches_of(method, network, [block])[0]


class _SeenError(Exception):
    """Ends a call of the first block where its first branch begins."""


class _All:
    """For each shape, the modulated input of the last call, its changes since the blocks last ran, and what they
    added."""

    def __init__(
        self,
        method: TeaCache,
        network: nn.Module,
        first: Callable[..., Any],
        last: Callable[..., Any],
        branch: nn.Module,
    ) -> None:
        self.method, self.network, self.threshold = method, network, method.threshold
        self._first, self._last, self._branch = first, last, branch
        self.passing = Passing(method, network)
        self.before: dict[tuple[int, ...], Tensor] = {}
        self.change: dict[tuple[int, ...], float] = {}
        self.added: dict[tuple[int, ...], Streams] = {}
        self.calls = self.left_out = 0
        self.skips = False
        self._before = Untouched()
        self.shape: tuple[int, ...]  # of the running call
        self.given: Sequence[Any]  # what the first block is given in it

    def first(self, *args: Any, **kwargs: Any) -> Any:
        shape = self.shape = self.passing.begin(args)
        self._before.note(args)
        self.given = args
        self.calls += 1
        self.skips = False
        if self.threshold:
            now = self._modulated(*args, **kwargs)
            if shape in self.added:
                before = self.before[shape]
                self.change[shape] += float((now - before).abs().mean() / before.abs().mean())
                self.skips = self.change[shape] < self.threshold
            self.before[shape] = now
        self.left_out += self.skips
        return self.passing.on(args) if self.skips else self._first(*args, **kwargs)

    def _modulated(self, *args: Any, **kwargs: Any) -> Tensor:
        seen: list[Tensor] = []

        def look(x: Tensor, *_: Any, **__: Any) -> Tensor:
            seen.append(x)
            raise _SeenError

        with replaced(self._branch, look), suppress(_SeenError):
            self._first(*args, **kwargs)
        return seen[0]

    def last(self, *args: Any, **kwargs: Any) -> Any:
        self.passing.end()
        if self.skips:
            return self.passing.on(tuple(map(add, self.given, self.added[self.shape])))
        output = self._last(*args, **kwargs)
        before, after = self.passing.of(self.given, output)
        if not self._before.still():
            raise refuse(self.method, self.network, CHANGED)
        self.added[self.shape], self.change[self.shape] = tuple(map(sub, after, before)), 0.0
        return output
