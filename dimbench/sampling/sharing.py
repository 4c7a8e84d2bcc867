"""The batches of a request shared out among ranks: whoever has drawn one takes the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from dimbench.sampling.drawing import Drawing
from dimbench.sampling.ranks import Ranks, silent

if TYPE_CHECKING:
    from torch import Tensor

    from dimbench.sampling.batches import Drawn, OnBatches
    from dimbench.sampling.shards import Shards


def numbered(ready: Drawing, here: Ranks, store: Shards | None, common: bool) -> Iterator[tuple[int, Tensor]]:
    """The batches this rank sees to, with their numbers, cut to the images that were asked for: first those that are in
    the store, then drawn ones. The store is everybody's if it is `common`, else the rank's own."""
    kept = _kept(ready, here, store, common)
    known = {index for indices in kept for index in indices}
    absent = [index for index in range(ready.shards) if index not in known]
    for index in kept[here.rank]:
        assert store is not None
        yield index, store.read(index)[: _count(ready, index)]
    with following(ready, here, len(known), store if common else None) as on_batches:
        for index, images in drawn(ready, here, absent, store, on_batches):
            yield index, images[: _count(ready, index)]


def drawn(
    ready: Drawing, here: Ranks, absent: Sequence[int], store: Shards | None, on_batches: OnBatches
) -> Iterator[tuple[int, Tensor]]:
    """Of the batches to draw those that fall to this rank, with their numbers; ends when all have drawn theirs, and
    then `ready.drawn` is what all have."""
    taken: list[int] = []

    def turns() -> Iterator[int]:
        for index in here.turns(absent):
            taken.append(index)
            yield index

    for place, images in enumerate(ready.draw(turns(), store, on_batches)):
        yield taken[place], images
    here.wait()
    on_batches(len(taken))
    _add_up(ready.drawn, here)


def following(ready: Drawing, here: Ranks, first: int, store: Shards | None) -> AbstractContextManager[OnBatches]:
    """The first rank's bar of images."""
    return ready.following(first, store, here.world) if here.first else nullcontext(silent)


def _count(ready: Drawing, index: int) -> int:
    return min(ready.batch, ready.request.num_images - index * ready.batch)


def _kept(ready: Drawing, here: Ranks, store: Shards | None, common: bool) -> list[Sequence[int]]:
    """For each rank the batches that it is to read."""
    if store is None:
        return [()] * here.world
    if common:
        absent = set(here.agree(lambda: ready.absent(store)))
        there = [index for index in range(ready.shards) if index not in absent]
        return [there[rank :: here.world] for rank in range(here.world)]
    missing = set(store.missing(ready.shards))
    everyone = here.gathered([index for index in range(ready.shards) if index not in missing])
    holder = {index: rank for rank, theirs in enumerate(everyone) for index in theirs}
    return [[index for index in theirs if holder[index] == rank] for rank, theirs in enumerate(everyone)]


def _add_up(own: Drawn, here: Ranks) -> None:
    """Make what this rank drew what all have drawn; the seconds are those of the slowest."""
    every = here.gathered(own)
    own.fresh, own.calls = sum(each.fresh for each in every), sum(each.calls for each in every)
    own.seconds = max(each.seconds for each in every)
    own.decode_seconds = sum(each.decode_seconds for each in every)
