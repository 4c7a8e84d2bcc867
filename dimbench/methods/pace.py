"""Which of a network's calls compute, and which reuse what an earlier one gave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dimbench.errors import UsageError
from dimbench.methods.method import Method, no_effect, refuse, replaced, skipped_all

if TYPE_CHECKING:
    from torch import Tensor, nn


class Pace:
    """Of the calls with x of one shape, those of one step in `every` compute. Of the running call, the `calls`-th:
    `shape` is that of its x, `computed` whether it computes, `kept` whether what it gives is kept (a second call within
    a step, as Heun's, is not), `ahead` how many steps ago the last kept one was, `behind` how many of those there were,
    `most` at most. `again` says whether any step but the first computed."""

    def __init__(self, every: int, most: int = 1) -> None:
        self.every, self.most = every, most
        self.step = self.ahead = self.behind = self.left_out = self.calls = 0
        self.computed = self.kept = True
        self.again = False
        self.shape: tuple[int, ...] = ()
        self._known: dict[tuple[int, ...], tuple[int, int]] = {}

    def begin(self, shape: tuple[int, ...]) -> None:
        """A call with x of this shape begins."""
        self.calls += 1
        at, self.behind = self._known.get(shape, (self.step - self.every, 0))
        self.shape, self.ahead = shape, self.step - at
        self.kept = self.ahead >= self.every
        self.computed = self.kept or self.ahead == 0
        self.left_out += not self.computed
        self.again |= self.computed and self.step > 0
        if self.kept:
            # what lies further apart than `every` steps is no neighbour
            self.behind = self.behind if self.ahead == self.every else 0
            self._known[shape] = self.step, min(self.behind + 1, self.most)

    def tell(self, step: int) -> None:
        """The number of the step that begins."""
        self.step = step

    def refuse(self, why: str) -> UsageError:
        """The error for the network that keeps this pace."""
        return refuse(*self._subject, why)

    @contextmanager
    def over(self, method: Method, network: nn.Module) -> Iterator[None]:
        """Inside, the calls of `network` keep this pace, and its `kind_of_call` says what decides the work of the
        running one. DimbenchError at the end where no call was left out, or every one after the first step."""
        self._subject = method, network
        forward: Callable[..., Any] = network.forward

        def whole(*args: Any, **kwargs: Any) -> Any:
            self.begin(tuple(first_of(args, kwargs).shape))
            vars(network)["kind_of_call"] = (self.computed, self.kept, self.behind)
            return forward(*args, **kwargs)

        with replaced(network, whole):
            try:
                yield
            finally:
                vars(network).pop("kind_of_call", None)
        if self.every > 1 and not self.left_out:
            raise no_effect(method, "no step was left out")
        if self.every > 1 and not self.again:
            raise skipped_all(method, self.step)


def first_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The sample among the arguments of a network, the first of them where it is told a list."""
    first = args[0] if args else next(iter(kwargs.values()))
    return first[0] if isinstance(first, list) else first
