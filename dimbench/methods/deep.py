from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dimbench.methods.method import Method, OnStep, check_range, refuse, replaced
from dimbench.methods.pace import Pace
from dimbench.methods.reuse import Reused

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Deep(Method):
    """Ma et al. 2023: of a network with long skips only the `level` outermost pairs run between computed steps.

    The network's `inner(level)` gives the parts that lie within, and the last of them, whose output stands for all.
    """

    every: int = 3
    level: int = 1

    name: ClassVar[str] = "deep"
    changes: ClassVar[str] = "what the blocks compute"
    says: ClassVar[str] = "the inner part of a network with long skips reused for `every` steps"
    wraps: ClassVar[str] = "U-DiT, U-ViT, Skip-DiT"
    source: ClassVar[str] = "DeepCache, arXiv 2312.00858"

    def __post_init__(self) -> None:
        check_range(self, "every", 1)
        check_range(self, "level", 1)

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        return [cls(every=every) for every in (2, 3, 5)]

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[OnStep]:
        inner_of = getattr(network, "inner", None)
        if inner_of is None:
            raise refuse(self, network, "it has no long skips; deep wraps U-DiT, U-ViT and Skip-DiT")
        parts, last = inner_of(self.level)
        if not parts:
            raise refuse(self, network, f"nothing lies within level {self.level}; give a smaller level")
        pace = Pace(self.every)

        def passing(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
            return lambda x, *args, **kwargs: forward(x, *args, **kwargs) if pace.computed else x

        with ExitStack() as stack:
            stack.enter_context(pace.over(self, network))
            for part in parts:
                stack.enter_context(replaced(part, passing(part.forward)))
            stack.enter_context(replaced(last, Reused(last.forward, pace)))
            yield pace.tell
