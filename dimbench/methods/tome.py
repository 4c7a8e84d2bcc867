from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any, ClassVar

from dimbench.methods.method import Method, OnStep, check_range, no_effect, refuse, replaced
from dimbench.methods.reuse import branches, scans

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
    place: ClassVar[int] = 1
    says: ClassVar[str] = "the `ratio` of most similar tokens merged before attention and feed-forward, unmerged after"
    wraps: ClassVar[str] = "blocks whose parts are told tokens, in a square of even side, and perhaps a text"
    source: ClassVar[str] = "Token Merging for Stable Diffusion, arXiv 2303.17604"

    def __post_init__(self) -> None:
        check_range(self, "ratio", 0, 0.75)

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        return [cls(ratio=ratio) for ratio in (0.25, 0.5)]

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[OnStep]:
        from torch import nn

        merged = 0

        def around(part: nn.Module) -> Callable[..., Tensor]:
            forward, name = part.forward, type(part).__name__

            def call(*args: Any, **kwargs: Any) -> Tensor:
                nonlocal merged
                if not args or getattr(args[0], "ndim", 0) != 3:
                    raise refuse(self, network, f"its {name} is not given tokens (N, T, D) first")
                x, *others = args
                if any(_of_each_token(other, x.shape[1]) for other in (*others, *kwargs.values())):
                    raise refuse(self, network, f"its {name} is told more than tokens and a text")
                count = int(self.ratio * x.shape[1])
                if not count:
                    return forward(*args, **kwargs)
                merged += 1
                merge, unmerge = matching(x, count, lambda why: refuse(self, network, why))
                output = forward(merge(x), *others, **kwargs)
                if not hasattr(output, "is_meta"):
                    raise refuse(self, network, f"its {name} gives more than tokens")
                return unmerge(output)

            return call

        parts = [part for part in branches(self, network) if not isinstance(part, nn.Conv2d)]
        if any(map(scans, parts)):
            raise refuse(self, network, "its branches scan the tokens in an order, which merging breaks")
        with ExitStack() as stack:
            for part in parts:
                stack.enter_context(replaced(part, around(part)))
            yield lambda k: None
        if self.ratio and not merged:
            raise no_effect(self, "no token was merged")


def _of_each_token(value: Any, count: int) -> bool:
    """Whether what a part is told besides its `count` tokens may have something of each; a text may be any length."""
    if hasattr(value, "is_meta"):
        return count in value.shape
    return not (value is None or isinstance(value, (bool, int, float, str)))


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
    first = torch.arange(len(x), device=x.device)[:, None]  # of each image among the rows of all
    kept_rows, gone_rows, stay_rows = (
        (index + x.shape[1] * first).flatten() for index in (places[None], others[gone], others[stay])
    )
    into = (target + len(places) * first).flatten()
    ones = torch.ones(len(into), dtype=x.dtype, device=x.device)
    shares = 1 / torch.ones(len(kept_rows), dtype=x.dtype, device=x.device).index_add(0, into, ones)[:, None]
    # where among the merged tokens each of all has its output
    source = torch.empty(len(x), x.shape[1], dtype=torch.int64, device=x.device)
    source[:, places] = torch.arange(len(places), device=x.device)
    source.scatter_(1, others[gone], target)
    source.scatter_(1, others[stay], torch.arange(len(places), x.shape[1] - count, device=x.device).expand_as(stay))
    source_rows = (source + (x.shape[1] - count) * first).flatten()

    def merge(y: Tensor) -> Tensor:
        rows = y.flatten(0, 1)
        kept = rows.index_select(0, kept_rows).index_add(0, into, rows.index_select(0, gone_rows)) * shares
        rest = rows.index_select(0, stay_rows)
        return torch.cat([part.view(len(y), -1, y.shape[-1]) for part in (kept, rest)], dim=1)

    def unmerge(y: Tensor) -> Tensor:
        return y.flatten(0, 1).index_select(0, source_rows).view(len(y), -1, y.shape[-1])

    return merge, unmerge
