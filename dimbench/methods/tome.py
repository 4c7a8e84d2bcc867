from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any, ClassVar

from dimbench.methods.method import Method, OnStep, check_range, no_effect, refuse, replaced
from dimbench.methods.reuse import branches_by_block, scans

if TYPE_CHECKING:
    from torch import Tensor, nn


Matching = tuple[Callable[["Tensor"], "Tensor"], Callable[["Tensor"], "Tensor"]]
"""Merges tokens (N, T, D), and undoes it."""


@dataclass(frozen=True)
class Tome(Method):
    """Bolya and Hoffman 2023: before each branch the `ratio` of the tokens that are most alike to one that is kept are
    averaged into it, and given its output. Which they are what the first branch of a block is given decides. Kept are
    at least those at the upper left of each 2 x 2 tokens (there: one of the four by chance), so that `ratio` is at most
    0.75."""

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

        def around(part: nn.Module, block: _BlockMatching) -> Callable[..., Tensor]:
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
                merge, unmerge = block.matched(part, x, count, lambda why: refuse(self, network, why))
                output = forward(merge(x), *others, **kwargs)
                if not hasattr(output, "is_meta"):
                    raise refuse(self, network, f"its {name} gives more than tokens")
                return unmerge(output)

            return call

        with ExitStack() as stack:
            for branches in branches_by_block(self, network):
                parts = [part for part in branches if not isinstance(part, nn.Conv2d)]
                if any(map(scans, parts)):
                    raise refuse(self, network, "its branches scan the tokens in an order, which merging breaks")
                block = _BlockMatching(parts)
                for part in parts:
                    stack.enter_context(replaced(part, around(part, block)))
            yield lambda k: None
        if self.ratio and not merged:
            raise no_effect(self, "no token was merged")


def _of_each_token(value: Any, count: int) -> bool:
    """Whether what a part is told besides its `count` tokens may have something of each; a text may be any length."""
    if hasattr(value, "is_meta"):
        return count in value.shape
    return not (value is None or isinstance(value, (bool, int, float, str)))


class _BlockMatching:
    """The matching of one block's tokens: its first branch makes it, and the last one forgets it."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        self._parts = parts
        self._known: dict[tuple[int, ...], Matching] = {}

    def matched(self, part: nn.Module, x: Tensor, count: int, error: Callable[[str], Exception]) -> Matching:
        if part is self._parts[0]:
            self._known.clear()
        if x.shape not in self._known:
            self._known[x.shape] = matching(x, count, error)
        return self._known.pop(x.shape) if part is self._parts[-1] else self._known[x.shape]


def matching(x: Tensor, count: int, error: Callable[[str], Exception]) -> Matching:
    """Merging of `count` of the tokens x (N, T, D), by the cosine of their features, and its undoing."""
    import torch
    from torch.nn import functional

    images, tokens, _ = x.shape
    side, left = isqrt(tokens), tokens - count
    if side * side != tokens or side % 2:
        raise error(f"its {tokens} tokens are no square of even side")
    corners = x.unflatten(1, (side, side))[:, ::2, ::2].flatten(1, 2)
    corner = torch.arange(tokens, device=x.device).view(side, side)[::2, ::2].flatten()
    lengths = torch.linalg.vector_norm(x, dim=-1).clamp_min_(1e-12)
    likeness = x @ corners.transpose(1, 2) / lengths[:, None, corner]
    alike, nearest = likeness.max(dim=-1)
    order = (alike / lengths).index_fill(1, corner, -torch.inf).argsort(dim=-1, descending=True)
    gone, stay = order[:, :count], order[:, count : tokens - len(corner)]
    # where among the merged tokens each of all goes, and has its output
    slots = torch.arange(left, device=x.device).expand(images, left)
    source = torch.empty(images, tokens, dtype=torch.int64, device=x.device)
    source[:, corner] = slots[:, : len(corner)]
    source.scatter_(1, gone, nearest.gather(1, gone)).scatter_(1, stay, slots[:, len(corner) :])
    rows = (source + left * torch.arange(images, device=x.device)[:, None]).flatten()
    members = rows.argsort()
    sizes = torch.zeros(images * left, dtype=torch.int64, device=x.device).scatter_add(0, rows, torch.ones_like(rows))
    starts = sizes.cumsum(0) - sizes

    def merge(y: Tensor) -> Tensor:
        return functional.embedding_bag(members, y.flatten(0, 1), starts, mode="mean").view(images, left, -1)

    def unmerge(y: Tensor) -> Tensor:
        return y.flatten(0, 1).index_select(0, rows).view(images, tokens, -1)

    return merge, unmerge
