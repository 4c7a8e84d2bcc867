"""Methods that change how a guided call is made."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dimbench.methods.method import Method, OnStep

if TYPE_CHECKING:
    from torch import Tensor, nn

    Halves = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    Alone = Callable[[Tensor, Tensor], Tensor]
    Combine = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Guided:
    """A guided call in its parts: `halves(x, t)` gives the outputs with and without the condition, `alone` only the
    first, `combine(x, t, told, untold)` the guided output; `times` are those of the run's calls in their order."""

    halves: Halves
    alone: Alone
    combine: Combine
    times: tuple[float, ...]

    def whole(self, x: Tensor, t: Tensor) -> Tensor:
        """As it is without a method."""
        return self.combine(x, t, *self.halves(x, t))


class Guiding(Method):
    """A method that leaves the network as it is."""

    changes: ClassVar[str] = "how a guided call is made"

    def applied(self, network: nn.Module) -> AbstractContextManager[OnStep]:
        return nullcontext(lambda k: None)

    @abstractmethod
    def guiding(self, parts: Guided) -> AbstractContextManager[tuple[OnStep, Alone]]:
        """What takes the place of `parts.whole` for one run, and who is told the steps. DimbenchError at the end where
        it did not take effect."""
