from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import isqrt
from typing import TYPE_CHECKING, Any, ClassVar

from dimbench.methods.method import Method, OnStep, check_range, no_effect, refuse, replaced
from dimbench.methods.pace import first_of
from dimbench.methods.reuse import image_branches, scans

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dimbench.methods.reuse import Branch


Matching = tuple[Callable[["Tensor"], "Tensor"], ...]
"""What `matching` makes of tokens."""


@dataclass(frozen=True)
class Tome(Method):
    """Bolya and Hoffman 2023: before each branch the `ratio` of the image's tokens that are most alike to one that is
    kept are averaged into it, and given its output; what the first branch of a block is given decides which. Kept are
    at least those at the upper left of each 2 x 2 tokens (there: one of the four by chance), so that `ratio` is at most
    0.75. Tokens that stand before the image's, or in a stream of their own, are not merged. Where positions are rotary
    a token that others were averaged into has its own still."""

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
        blocks: dict[int, _BlockMatching] = {}
        for branch in branches:
            blocks.setdefault(id(branch.block), _BlockMatching()).parts += 1
        images = _Images(self, network, list(blocks.values()))
        merging = [_Merging(images, each, each.part.forward, blocks[id(each.block)]) for each in branches]
        with ExitStack() as stack:
            stack.enter_context(replaced(network, images.around(network.forward)))
            for each in merging:
                stack.enter_context(replaced(each.branch.part, each.call))
            yield lambda k: None
        if self.ratio and not any(each.merged for each in merging):
            raise no_effect(self, "no token was merged")


class _Images:
    """What the network is given in the running call: `shape`."""

    def __init__(self, method: Tome, network: nn.Module, blocks: Sequence[_BlockMatching]) -> None:
        self.method, self.network, self.blocks = method, network, blocks
        self.shape: tuple[int, ...] = ()

    def around(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.shape = tuple(first_of(args, kwargs).shape)
            for block in self.blocks:
                block.forget()
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
    block: _BlockMatching
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
        merge, unmerge, own = self.block.matched(self.branch.part, x[:, before:], count, self.images.refuse)
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


@dataclass
class _BlockMatching:
    """The matching of the tokens of a block of so many `parts`: the first that is called makes it, the last one forgets
    it. A part that is called again begins anew, and so does a call of the network, where a method left parts out."""

    parts: int = 0
    called: set[int] = field(default_factory=set)
    known: dict[tuple[int, ...], Matching] = field(default_factory=dict)

    def forget(self) -> None:
        self.called.clear()
        self.known.clear()

    def matched(self, part: nn.Module, x: Tensor, count: int, error: Callable[[str], Exception]) -> Matching:
        if id(part) in self.called:
            self.forget()
        self.called.add(id(part))
        if x.shape not in self.known:
            self.known[x.shape] = matching(x, count, error)
        found = self.known[x.shape]
        if len(self.called) == self.parts:
            self.forget()
        return found


def matching(x: Tensor, count: int, error: Callable[[str], Exception]) -> Matching:
    """Merging of `count` of the tokens x (N, T, D), by the cosine of their features; its undoing; and the choice, from
    (N or 1, T, d) of what belongs to each token, of what belongs to the kept ones."""
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

    def own(table: Tensor) -> Tensor:
        kept = torch.cat([corner.expand(images, -1), stay], dim=1)
        return table.expand(images, -1, -1).gather(1, kept[..., None].expand(-1, -1, table.shape[-1]))

    return merge, unmerge, own
