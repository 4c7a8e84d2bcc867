from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dimbench.methods.first_block import IN_TURN, chain, tokens_of
from dimbench.methods.method import Method, OnStep, check_range, no_effect, refuse, replaced, skipped_all
from dimbench.methods.reuse import CHANGED, Untouched, branches_of

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class TeaCache(Method):
    """All blocks are left out, and what they added last is added again, until the input of the first branch, normed and
    modulated by the time, has changed by `threshold` of its mean size, the changes of the steps added up. The
    published one corrects the change by a polynomial fitted to each network, which is left out here."""

    threshold: float = 0.2

    name: ClassVar[str] = "teacache"
    changes: ClassVar[str] = "what the blocks compute"
    says: ClassVar[str] = "all blocks left out until the modulated input has changed by `threshold`"
    wraps: ClassVar[str] = "a chain of blocks that pass on tokens"
    by_values: ClassVar[bool] = True
    source: ClassVar[str] = "TeaCache, arXiv 2411.19108, without its fitted polynomial"

    def __post_init__(self) -> None:
        check_range(self, "threshold", 0)

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        return [cls(threshold=threshold) for threshold in (0.2, 0.5)]

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[OnStep]:
        blocks = chain(self, network)
        branch = branches_of(self, network, [blocks[0]])[0]
        all_ = _All(self, network, blocks[0].forward, blocks[-1].forward, branch)
        with ExitStack() as stack:
            stack.enter_context(replaced(blocks[0], all_.first))
            for block in blocks[1:-1]:
                stack.enter_context(replaced(block, all_.passing(block.forward)))
            stack.enter_context(replaced(blocks[-1], all_.last))
            yield lambda k: None
        if self.threshold and not all_.left_out:
            raise no_effect(self, "the modulated input always changed by more")
        if all_.left_out and all_.left_out == all_.calls - len(all_.added):
            raise skipped_all(self, all_.calls, "call")


class _SeenError(Exception):
    """Ends a call of the first block where its first branch begins."""


class _All:
    """For each shape, the modulated input of the last call, its changes since the blocks last ran, and what they
    added."""

    def __init__(
        self,
        method: TeaCache,
        network: nn.Module,
        first: Callable[..., Tensor],
        last: Callable[..., Tensor],
        branch: nn.Module,
    ) -> None:
        self.method, self.network, self.threshold = method, network, method.threshold
        self._first, self._last, self._branch = first, last, branch
        self.before: dict[tuple[int, ...], Tensor] = {}
        self.change: dict[tuple[int, ...], float] = {}
        self.added: dict[tuple[int, ...], Tensor] = {}
        self.calls = self.left_out = 0
        self.skips = self._within = False
        self._before = Untouched()
        self.tokens: Tensor  # of the running call, before the first block

    def first(self, *args: Any, **kwargs: Any) -> Tensor:
        x = tokens_of(self.method, self.network, args, self._within)
        self._within = True
        self._before.note(x)
        self.tokens, shape = x, tuple(x.shape)
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
        return x if self.skips else self._first(*args, **kwargs)

    def _modulated(self, *args: Any, **kwargs: Any) -> Tensor:
        seen: list[Tensor] = []

        def look(x: Tensor, *_: Any, **__: Any) -> Tensor:
            seen.append(x)
            raise _SeenError

        with replaced(self._branch, look), suppress(_SeenError):
            self._first(*args, **kwargs)
        return seen[0]

    def passing(self, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """`forward`, or nothing at all in a call that is left out."""
        return lambda x, *args, **kwargs: x if self.skips else forward(x, *args, **kwargs)

    def last(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not self._within:
            raise refuse(self.method, self.network, IN_TURN)
        self._within = False
        shape = tuple(self.tokens.shape)
        if self.skips:
            return self.tokens + self.added[shape]
        output = self._last(x, *args, **kwargs)
        if not isinstance(output, type(self.tokens)):
            raise refuse(self.method, self.network, "its blocks pass on more than tokens")
        if output.shape != self.tokens.shape:
            raise refuse(self.method, self.network, "its blocks do not all pass on as many tokens")
        if not self._before.still():
            raise refuse(self.method, self.network, CHANGED)
        self.added[shape], self.change[shape] = output - self.tokens, 0.0
        return output
