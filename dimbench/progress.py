"""How far long work is, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from dimbench.escaping import plain

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

T = TypeVar("T")


def track(items: Sequence[T], what: str) -> Iterator[T]:
    """The items one by one, with a progress bar and the time left on stderr when there are several."""
    if len(items) < 2:
        return iter(items)
    from rich.console import Console
    from rich.progress import track as bar

    return iter(bar(items, description=what, console=Console(stderr=True), transient=True))


@contextmanager
def stepping(what: str, total: int | None, done: int = 0) -> Iterator[Callable[..., None]]:
    """A progress bar with the time left on stderr; call the result with the steps done, perhaps a few words, and the
    total where it has become another."""
    from rich.progress import MofNCompleteColumn, TextColumn

    with _bar(MofNCompleteColumn(), TextColumn("{task.fields[words]}", markup=False)) as bar:
        task = bar.add_task(what, total=total, completed=done, words="")

        def progress(done: float, words: str = "", total: float | None = None) -> None:
            bar.update(task, completed=done, words=words, total=total)

        yield progress


@contextmanager
def transferring(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar in bytes with the time left on stderr; call the result with the bytes here and those in all."""
    from rich.progress import DownloadColumn, TransferSpeedColumn

    bar = _bar(DownloadColumn(), TransferSpeedColumn())
    task = bar.add_task(what, total=None)

    def progress(here: int, in_all: int | None) -> None:
        bar.start()  # nothing is shown before something comes
        bar.update(task, completed=here, total=in_all)

    try:
        yield progress
    finally:
        if bar.live.is_started:
            bar.stop()


def _bar(*counts: ProgressColumn) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *counts)
    times = (TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn())
    return Progress(*columns, *times, console=Console(stderr=True))


def say(text: str) -> None:
    """What a person should read before or beside the results."""
    print(plain(text), file=sys.stderr, flush=True)
