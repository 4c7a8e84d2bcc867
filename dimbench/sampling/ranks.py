"""The processes that torchrun started, which share out the work; without torchrun there is one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist

from dimbench.errors import DimbenchError

T = TypeVar("T")

_PATIENCE = timedelta(days=7)  # ranks of unlike speed wait for the slowest


@dataclass(frozen=True)
class Ranks:
    """This process is number `rank` of `world`, and number `local` on its machine."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of the items."""
        return items[self.rank :: self.world]

    def device(self, name: str) -> str:
        """`cuda` means a GPU of its own for each process of a machine."""
        return f"cuda:{self.local}" if name == "cuda" and self.world > 1 else name

    def agree(self, make: Callable[[], T]) -> T:
        """What `make` returns in the first process, in all of them."""
        made = [make() if self.first else None]
        if self.world > 1:
            with _others():
                dist.broadcast_object_list(made)
        return made[0]  # type: ignore[return-value]

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.world > 1:
            with _others():
                dist.barrier()


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks that torchrun's environment names, connected by gloo: all they exchange is where they are."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks()
        return
    dist.init_process_group("gloo", timeout=_PATIENCE)
    yield Ranks(dist.get_rank(), world, int(os.environ.get("LOCAL_RANK", "0")))
    dist.destroy_process_group()


@contextmanager
def _others() -> Iterator[None]:
    try:
        yield
    except RuntimeError:
        raise DimbenchError(
            "another process of this run ended early; the shards are kept: run again to go on"
        ) from None
