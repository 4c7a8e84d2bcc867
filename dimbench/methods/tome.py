from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any, ClassVar

from dimbench.methods.method import Method, OnStep, check_range, no_effect, refuse, replaced
from dimbench.methods.pace import first_of
from dimbench.methods.reuse import image_branches, scans

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dimbench.methods.reuse import Branch


@dataclass(frozen=True)
class Tome(Method):
    """Bolya and Hoffman 2023: before each branch the `ratio` of the image's tokens that are most alike to one that is
    kept are averaged into it, and given its output. Kept are at least those at the upper left of each 2 x 2 tokens
    (there: one of the four by chance), so that `ratio` is at most 0.75. Tokens that stand before the image's, or in a
    stream of their own, are not merged. Where positions are rotary a token that others were averaged into has its own
    still."""

    ratio: float = 0.5

    name: ClassVar[str] = "tome"
    changes: ClassVar[str] = "the tokens of the branches"
    place: ClassVar[int] = 1
    says: ClassVar[str] = "the `ratio` of most similar tokens merged before attention and feed-forward, unmerged after"
    wraps: ClassVar[str] = "blocks whose parts are told the patches of a square image, an even number per side"
    source: ClassVar[str] = "Token Merging for Stable Diffusion, arXiv 2303.17604"

    def __post_init__(self) -> None:
        check_range(self, "ratio", 0, 0.75)

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        return [cls(ratio=ratio) for ratio in (0.25, 0.5)]

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[OnStep]:
        branches = image_branches(self, network)
        if any(scans(branch.part) for branch in branches):
            raise refuse(self, network, "its branches scan the tokens in an order, which merging breaks")
        images = _Images(self, network)
        merging = [_Merging(images, branch, branch.part.forward) for branch in branches]
        with ExitStack() as stack:
            stack.enter_context(replaced(network, images.around(network.forward)))
            for each in merging:
                stack.enter_context(replaced(each.branch.part, each.call))
            yield lambda k: None
        if self.ratio and not any(each.merged for each in merging):
            raise no_effect(self, "no token was merged")


class _Images:
    """What the network is given in the running call: `shape`."""

    def __init__(self, method: Tome, network: nn.Module) -> None:
        self.method, self.network = method, network
        self.shape: tuple[int, ...] = ()

    def around(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.shape = tuple(first_of(args, kwargs).shape)
            return forward(*args, **kwargs)

        return call

    def refuse(self, why: str) -> Exception:
        return refuse(self.method, self.network, why)

    def check(self, name: str, count: int) -> None:
        """UsageError where so many tokens of a part are not the patches of square images."""
        shape = self.shape[1:]
        if len(shape) == 1:  # an image in one row with what is denoised beside it
            shape = getattr(getattr(self.network, "config", None), "state", shape)
        if len(shape) != 3:
            raise self.refuse(f"its samples of shape {shape} are no images, (C, h, w)")
        _, height, width = shape
        if height != width:
            raise self.refuse(f"its images of {height} x {width} are not square")
        side = isqrt(max(count, 0))
        if not side or side * side != count or height % side:
            raise self.refuse(
                f"the {count} tokens of its {name} are not the patches of its images of {height} x {width}; a block in "
                "which others stand before them says how many, as in self.tokens_before = 1"
            )


@dataclass
class _Merging:
    """What a branch's `forward` is in the method."""

    images: _Images
    branch: Branch
    forward: Callable[..., Any]
    merged: bool = False

    def call(self, *args: Any, **kwargs: Any) -> Any:
        name, before = type(self.branch.part).__name__, self.branch.before
        place = 1 if self.branch.joint else 0
        x: Any = args[place] if len(args) > place else None
        if getattr(x, "ndim", 0) == 4:
            raise self.images.refuse(f"its {name} is given a map (N, C, h, w), in which a merged token leaves a hole")
        if getattr(x, "ndim", 0) == 2:
            raise self.images.refuse(f"its {name} is given tokens of no image, (T, D)")
        if getattr(x, "ndim", 0) != 3:
            raise self.images.refuse(f"its {name} is not given tokens (N, T, D) {'second' if place else 'first'}")
        tokens = x.shape[1] - before
        self.images.check(name, tokens)
        count = int(self.images.method.ratio * tokens)
        if not count:
            return self.forward(*args, **kwargs)
        self.merged = True
        merge, unmerge, own = matching(x[:, before:], count, self.images.refuse)
        fewer = _behind(before, merge)(x)

        def fitted(value: Any) -> Any:
            if value is x:
                return fewer
            if _turns(value, x):
                return _behind(before, own)(value.squeeze(1) if value.ndim == 4 else value[None])[:, None]
            if _of_each_token(value, x):
                raise self.images.refuse(
                    f"its {name} is told more than tokens, their rotary positions as complex numbers, and a text"
                )
            return value

        output = self.forward(*map(fitted, args), **{key: fitted(value) for key, value in kwargs.items()})
        if not hasattr(output, "is_meta"):
            raise self.images.refuse(f"its {name} gives more than tokens")
        return _behind(output.shape[1] - (tokens - count), unmerge)(output)


def _behind(before: int, change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`change` of the tokens but the first `before`, which stay."""
    import torch

    def call(x: Tensor) -> Tensor:
        if not before:
            return change(x)
        changed = change(x[:, before:])
        return torch.cat([x[:, :before].expand(len(changed), -1, -1), changed], dim=1)

    return call


def _turns(value: Any, x: Tensor) -> bool:
    """Whether it holds rotations of the tokens x, (T, d) or (N, 1, T, d)."""
    if not hasattr(value, "is_meta") or not value.is_complex():
        return False
    return value.shape[-2] == x.shape[1] and (value.ndim == 2 or (value.ndim == 4 and value.shape[1] == 1))


def _of_each_token(value: Any, x: Tensor) -> bool:
    """Whether what a part is told besides its tokens x may have something of each. A text, or what modulates all tokens
    of an image, may be of any width."""
    from torch import nn

    if isinstance(value, (list, tuple)):
        return any(_of_each_token(each, x) for each in value)
    if not hasattr(value, "is_meta"):
        return not (value is None or isinstance(value, (bool, int, float, str, nn.Module)))
    features = value.ndim == 3 and (value.shape[1] > 1 or value.shape[2] == x.shape[2]) and value.is_floating_point()
    return x.shape[1] in (value.shape[1:2] if features else value.shape)


def matching(x: Tensor, count: int, error: Callable[[str], Exception]) -> tuple[Callable[[Tensor], Tensor], ...]:
    """Merging of `count` of the tokens x (N, T, D), by the cosine of their features; its undoing; and the choice, from
    (N or 1, T, d) of what belongs to each token, of what belongs to the kept ones."""
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

    def own(table: Tensor) -> Tensor:
        rows = torch.cat([places.expand(len(x), -1), others[stay]], dim=1)
        return table.expand(len(x), -1, -1).gather(1, rows[..., None].expand(-1, -1, table.shape[-1]))

    return merge, unmerge, own
