"""Methods that change how a guided call is made."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from dimbench.methods.method import Method, OnStep

if TYPE_CHECKING:
    from torch import Tensor, nn

    Halves = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    Alone = Callable[[Tensor, Tensor], Tensor]

    class Combine(Protocol):
        def __call__(
            self,
            x: Tensor,
            t: Tensor,
            told: Tensor,
            untold: Tensor,
            scale: float | None = None,
            channels: int | None = None,
        ) -> Tensor: ...


@dataclass(frozen=True)
class Guided:
    """A guided call in its parts: `halves(x, t)` gives the outputs with and without the condition, `alone` only the
    first, `combine(x, t, told, untold)` the guided output, by another scale or number of channels (0: all) where one is
    given; `times()` are those of the run's calls in their order, UsageError where the sampler chooses them on its way,
    `sigmas()` the ratios of noise to data there, and `scale` is the run's own. `guide` is another network that is told
    the same, None where there is none."""

    halves: Halves
    alone: Alone
    combine: Combine
    times: Callable[[], tuple[float, ...]]
    sigmas: Callable[[], tuple[float, ...]] = tuple
    scale: float = 1.0
    guide: Alone | None = None

    def whole(self, x: Tensor, t: Tensor) -> Tensor:
        """As it is without a method."""
        return self.combine(x, t, *self.halves(x, t))


class Guiding(Method):
    """A method that leaves the network as it is."""

    changes: ClassVar[str] = "how a guided call is made"
    of_guidance: ClassVar[bool] = True

    def applied(self, network: nn.Module) -> AbstractContextManager[OnStep]:
        return nullcontext(lambda k: None)

    @abstractmethod
    def guiding(self, parts: Guided) -> AbstractContextManager[tuple[OnStep, Alone]]:
        """What takes the place of `parts.whole` for one run, and who is told the steps. DimbenchError at the end where
        it did not take effect."""
