from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any, ClassVar

from dimbench.methods.method import Method, OnStep, check_range, no_effect, refuse, replaced
from dimbench.methods.reuse import branches

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Tome(Method):
    """Bolya and Hoffman 2023: before each branch the `ratio` of the tokens that are most alike to one that is kept are
    averaged into it, and given its output. Kept are at least those at the upper left of each 2 x 2 tokens (there: one
    of the four by chance), so that `ratio` is at most 0.75."""

    ratio: float = 0.5

    name: ClassVar[str] = "tome"
    changes: ClassVar[str] = "the tokens of the branches"
    says: ClassVar[str] = "the `ratio` of most similar tokens merged before attention and feed-forward, unmerged after"
    wraps: ClassVar[str] = "blocks whose parts are told tokens alone, in a square of even side"
    source: ClassVar[str] = "Token Merging for Stable Diffusion, arXiv 2303.17604"

    def __post_init__(self) -> None:
        check_range(self, "ratio", 0, 0.75)

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        return [cls(ratio=ratio) for ratio in (0.25, 0.5)]

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[OnStep]:
        merged = 0

        def around(forward: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
            def call(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
                nonlocal merged
                if args or kwargs or x.ndim != 3:
                    raise refuse(self, network, "its branches are told more of each token than its features")
                count = int(self.ratio * x.shape[1])
                if not count:
                    return forward(x)
                merged += 1
                merge, unmerge = matching(x, count, lambda why: refuse(self, network, why))
                return unmerge(forward(merge(x)))

            return call

        with ExitStack() as stack:
            for part in branches(self, network):
                stack.enter_context(replaced(part, around(part.forward)))
            yield lambda k: None
        if self.ratio and not merged:
            raise no_effect(self, "no token was merged")


def matching(x: Tensor, count: int, error: Callable[[str], Exception]) -> tuple[Callable[[Tensor], Tensor], ...]:
    """Merging of `count` of the tokens x (N, T, D), by the cosine of their features, and its undoing."""
    import torch

    side = isqrt(x.shape[1])
    if side * side != x.shape[1] or side % 2:
        raise error(f"its {x.shape[1]} tokens are no square of even side")
    grid = torch.arange(side * side, device=x.device).view(side, side)
    places = grid[::2, ::2].flatten()
    others = torch.cat([grid[::2, 1::2].flatten(), grid[1::2].flatten()])
    unit = torch.nn.functional.normalize(x, dim=-1)
    alike, nearest = (unit[:, others] @ unit[:, places].transpose(1, 2)).max(dim=-1)
    order = alike.argsort(dim=-1, descending=True)
    gone, stay = order[:, :count], order[:, count:]
    target = nearest.gather(1, gone)
    width = x.shape[-1]

    def rows(of: Tensor, index: Tensor) -> Tensor:
        return of.gather(1, index[..., None].expand(-1, -1, of.shape[-1]))

    def merge(y: Tensor) -> Tensor:
        kept, rest = y[:, places], y[:, others]
        spread = target[..., None].expand(-1, -1, width)
        kept = kept.scatter_reduce(1, spread, rows(rest, gone), "mean", include_self=True)
        return torch.cat([kept, rows(rest, stay)], dim=1)

    def unmerge(y: Tensor) -> Tensor:
        kept, rest = y[:, : len(places)], y[:, len(places) :]
        out = torch.empty(len(y), x.shape[1], y.shape[-1], dtype=y.dtype, device=y.device)
        out[:, places] = kept
        back = torch.empty(len(y), len(others), y.shape[-1], dtype=y.dtype, device=y.device)
        back = back.scatter(1, stay[..., None].expand_as(rest), rest)
        back = back.scatter(1, gone[..., None].expand(-1, -1, y.shape[-1]), rows(kept, target))
        out[:, others] = back
        return out

    return merge, unmerge
