from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dimbench.methods.guiding import Guided, Guiding
from dimbench.methods.method import Method, OnStep, check_range, no_effect, skipped_all

if TYPE_CHECKING:
    from torch import Tensor

    from dimbench.methods.guiding import Alone


@dataclass(frozen=True)
class CfgCache(Guiding):
    """The half without a condition runs in one step of `every`; in between, the difference that it made is kept."""

    every: int = 2

    name: ClassVar[str] = "cfg-cache"
    says: ClassVar[str] = "the unguided half computed in one step of `every`, its difference reused"
    wraps: ClassVar[str] = "guided runs"
    source: ClassVar[str] = "reuse over the guided half of FasterCache, arXiv 2410.19355, in its plainest form"

    def __post_init__(self) -> None:
        check_range(self, "every", 1)

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        return [cls(every=every) for every in (2, 4)]

    @contextmanager
    def guiding(self, parts: Guided) -> Iterator[tuple[OnStep, Alone]]:
        step = left_out = halves = 0
        known: dict[tuple[int, ...], tuple[int, Tensor]] = {}

        def tell(k: int) -> None:
            nonlocal step
            step = k

        def call(x: Tensor, t: Tensor) -> Tensor:
            nonlocal left_out, halves
            at, difference = known.get(tuple(x.shape), (-self.every, None))
            if difference is None or step == at or step - at >= self.every:
                halves += step > 0
                told, untold = parts.halves(x, t)
                if step != at:
                    known[tuple(x.shape)] = step, told - untold
                return parts.combine(x, t, told, untold)
            left_out += 1
            told = parts.alone(x, t)
            return parts.combine(x, t, told, told - difference)

        yield tell, call
        if self.every > 1 and not left_out:
            raise no_effect(self, "no step was left out")
        if left_out and not halves:
            raise skipped_all(self, step)
