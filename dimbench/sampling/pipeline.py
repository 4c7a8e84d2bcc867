"""Two stages of work side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def one_behind(work: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """`work(item)` for each item in order, done in a thread while the next item is being made."""
    with ThreadPoolExecutor(1) as thread:
        running = None
        for item in items:
            before, running = running, thread.submit(work, item)
            if before:
                yield before.result()
        if running:
            yield running.result()
