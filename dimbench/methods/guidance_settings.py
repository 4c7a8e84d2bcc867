from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import cos, inf, pi
from typing import TYPE_CHECKING, ClassVar

from dimbench.errors import UsageError
from dimbench.methods.guiding import Guided, Guiding
from dimbench.methods.method import Method, OnStep, check_range, no_effect

if TYPE_CHECKING:
    from torch import Tensor

    from dimbench.methods.guiding import Alone


@dataclass(frozen=True)
class GuidanceSettings(Guiding):
    """What decides a guided call, in place of the run's own: `scale`, 0 for that of --cfg; the first `channels` of the
    output are guided, 0 for all, -1 for the family's own; calls below `low` or above `high` in sigma, the ratio of
    noise to data, run unguided with half the rows; with `power` the scale falls from noise to data as DiMSUM's
    adaptive one, 1 + (scale - 1) (1 - cos(pi (1 - s)^power)) / 2 for the share s of the calls that is done."""

    scale: float = 0.0
    channels: int = -1
    low: float = 0.0
    high: float = inf
    power: float = 0.0

    name: ClassVar[str] = "guidance"
    says: ClassVar[str] = "guidance by another scale, of some channels, between two noise levels sigma, or adaptive"
    wraps: ClassVar[str] = "guided runs"
    source: ClassVar[str] = "arXiv 2207.12598, 2404.07724 (sigma), 2411.04168 (adaptive)"

    def __post_init__(self) -> None:
        check_range(self, "channels", -1)
        check_range(self, "power", 0, 100)
        if self.scale and not 1 <= self.scale < inf:
            raise UsageError(f"--with guidance: scale={self.scale:g} is below 1; give 1 for none or more")
        if not 0 <= self.low <= self.high:
            raise UsageError(
                f"--with guidance: low={self.low:g} and high={self.high:g} are no interval of sigma; give 0 or more, "
                "in order"
            )

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        return [cls(scale=scale) for scale in (1.25, 2.0, 3.0)]

    @contextmanager
    def guiding(self, parts: Guided) -> Iterator[tuple[OnStep, Alone]]:
        calls = unguided = 0
        bounded = self.low > 0 or self.high < inf
        sigmas = parts.sigmas() if bounded else ()
        last = len(parts.times()) - 1 if self.power else 0

        def call(x: Tensor, t: Tensor) -> Tensor:
            nonlocal calls, unguided
            scale = self._scale(parts.scale, calls / max(1, last))
            inside = not bounded or self.low <= sigmas[calls] <= self.high
            calls += 1
            if scale == 1 or not inside:
                unguided += 1
                return parts.alone(x, t)
            if self.channels > x.shape[1]:
                raise UsageError(
                    f"--with guidance: channels={self.channels} are more than the {x.shape[1]} of its samples; give "
                    f"at most {x.shape[1]}, or 0 for all"
                )
            told, untold = parts.halves(x, t)
            channels = None if self.channels == -1 else self.channels
            return parts.combine(x, t, told, untold, scale, channels)

        yield lambda k: None, call
        if bounded and unguided in (0, calls):
            levels = f"{min(sigmas):.4g} to {max(sigmas):.4g}"
            raise no_effect(self, f"{'none' if unguided else 'all'} of the run's noise levels, {levels}, lie in it")

    def _scale(self, own: float, done: float) -> float | None:
        """Where this share of the run's calls is done; None for the run's `own`."""
        if not self.power:
            return self.scale or None
        return 1 + ((self.scale or own) - 1) * (1 - cos(pi * (1 - done) ** self.power)) / 2
