from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dimbench.methods.method import Method, OnStep, check_range, no_effect, refuse, replaced

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

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[OnStep]:
        inner_of = getattr(network, "inner", None)
        if inner_of is None:
            raise refuse(self, network, "it has no long skips; deep wraps U-DiT, U-ViT and Skip-DiT")
        parts, last = inner_of(self.level)
        if not parts:
            raise refuse(self, network, f"nothing lies within level {self.level}; give a smaller level")
        inner = _Inner(network.forward, last.forward, self.every)
        with ExitStack() as stack:
            for part in parts:
                stack.enter_context(replaced(part, inner.passing(part.forward)))
            stack.enter_context(replaced(last, inner.end))
            stack.enter_context(replaced(network, inner.whole))

            def step(k: int) -> None:
                inner.step = k

            yield step
        if self.every > 1 and not inner.left_out:
            raise no_effect(self, "no step was left out")


class _Inner:
    """Whether the inner part is computed in the running call, and for each shape what it gave last, and when."""

    def __init__(self, whole: Callable[..., Any], last: Callable[..., Tensor], every: int) -> None:
        self._whole, self._last, self.every = whole, last, every
        self.step = self.left_out = 0
        self.known: dict[tuple[int, ...], tuple[int, Tensor]] = {}
        self.shape: tuple[int, ...] = ()
        self.computed = True

    def whole(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        self.shape = tuple(x.shape)
        at, _ = self.known.get(self.shape, (-self.every, None))
        self.computed = self.step == at or self.step - at >= self.every
        self.left_out += not self.computed
        return self._whole(x, *args, **kwargs)

    def passing(self, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """`forward`, or nothing at all while the inner part is left out."""
        return lambda x, *args, **kwargs: forward(x, *args, **kwargs) if self.computed else x

    def end(self, *args: Any, **kwargs: Any) -> Tensor:
        if self.computed:
            self.known[self.shape] = self.step, self._last(*args, **kwargs)
        return self.known[self.shape][1]
