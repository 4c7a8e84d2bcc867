from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dimbench.errors import UsageError
from dimbench.methods.guiding import Guided, Guiding
from dimbench.methods.method import Method, OnStep, no_effect

if TYPE_CHECKING:
    from torch import Tensor

    from dimbench.methods.guiding import Alone


@dataclass(frozen=True)
class Interval(Guiding):
    """Kynkaanniemi et al. 2024: calls at times outside of [low, high], in the network's own time, run unguided, with
    half the rows. The default reaches over all times."""

    low: float = 0.0
    high: float = 1000.0

    name: ClassVar[str] = "interval"
    says: ClassVar[str] = "guidance only at times from `low` to `high`, as the network is told them"
    wraps: ClassVar[str] = "guided runs"
    source: ClassVar[str] = "arXiv 2404.07724"

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise UsageError(f"--with interval: low={self.low:g} is above high={self.high:g}; give them in order")

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        return [cls(*_middle(times, share)) for share in (0.8, 0.4)]

    @contextmanager
    def guiding(self, parts: Guided) -> Iterator[tuple[OnStep, Alone]]:
        calls = unguided = 0
        times = parts.times()

        def call(x: Tensor, t: Tensor) -> Tensor:
            nonlocal calls, unguided
            inside = self.low <= times[calls] <= self.high
            calls += 1
            unguided += not inside
            return parts.whole(x, t) if inside else parts.alone(x, t)

        yield lambda k: None, call
        if unguided == calls or (not unguided and self != Interval()):
            span = f"{min(times):g} to {max(times):g}"
            raise no_effect(self, f"{'all' if unguided == 0 else 'none'} of the run's times, {span}, lie in it")


def _middle(times: Sequence[float], share: float) -> tuple[float, float]:
    """Bounds halfway between two calls, within which this share of them lies, as many above as below."""
    ordered = sorted(times)
    beyond = max(1, min(round((1 - share) / 2 * len(ordered)), (len(ordered) - 1) // 2))
    bounds = ordered[beyond - 1 : beyond + 1], ordered[-beyond - 1 : len(ordered) - beyond + 1]
    low, high = (float(f"{sum(pair) / 2:g}") for pair in bounds)
    return low, high
