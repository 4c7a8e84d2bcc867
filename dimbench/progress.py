"""How far long work is, on stderr: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from dimbench import units
from dimbench.escaping import plain

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

T = TypeVar("T")
FIRST, EVERY = 0.5, 5.0  # seconds until the first line where there is no terminal, and between it and others


def track(items: Sequence[T], what: str) -> Iterator[T]:
    """The items one by one, with a progress bar and the time left on stderr when there are several."""
    if len(items) < 2:
        yield from items
        return
    with stepping(what, len(items), transient=True) as progress:
        for done, item in enumerate(items):
            progress(done)
            yield item
        progress(len(items))


@contextmanager
def stepping(what: str, total: int | None, done: int = 0, transient: bool = False) -> Iterator[Callable[..., None]]:
    """A progress bar with the time left on stderr; call the result with the steps done, perhaps a few words, and the
    total where it has become another. A `transient` bar goes away at its end."""
    if not sys.stderr.isatty():
        steps = _Steps(what, total, done)
        with _lines(lambda: steps.says):
            yield steps
        return
    from rich.progress import MofNCompleteColumn, TextColumn

    counts = (MofNCompleteColumn(), TextColumn("{task.fields[words]}", markup=False))
    with _bar(*counts, transient=transient) as bar:
        task = bar.add_task(what, total=total, completed=done, words="")

        def progress(done: float, words: str = "", total: float | None = None) -> None:
            bar.update(task, completed=done, words=words, total=total)

        yield progress


@contextmanager
def transferring(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar in bytes with the time left on stderr; call the result with the bytes here and those in all."""
    if not sys.stderr.isatty():
        steps = _Steps(what, None, 0, lambda number: units.size(int(number)))
        with _lines(lambda: steps.says):
            yield lambda here, in_all: steps(here, total=in_all)
        return
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


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Says what is done, where it takes longer than a moment and there is nothing to count."""
    began = monotonic()
    with _lines(lambda: f"{what}: {monotonic() - began:.0f} s"):
        yield


class _Steps:
    """How far the work is, as a line."""

    def __init__(
        self, what: str, total: float | None, done: float, read: Callable[[float], str] = "{:,.0f}".format
    ) -> None:
        self._what, self._total, self._words, self._read = what, total, "", read
        self._first = self._done = done
        self._began = monotonic()

    def __call__(self, done: float, words: str = "", total: float | None = None) -> None:
        self._done, self._words, self._total = done, words, self._total if total is None else total

    @property
    def says(self) -> str:
        of = "" if self._total is None else f" of {self._read(self._total)}"
        return ", ".join(filter(None, [f"{self._what}: {self._read(self._done)}{of}", self._words, self._left()]))

    def _left(self) -> str:
        """Taken as steady."""
        gone = self._done - self._first
        if self._total is None or gone <= 0 or self._done >= self._total:
            return ""
        seconds = (monotonic() - self._began) * (self._total - self._done) / gone
        return f"about {units.duration(round(seconds))} left"


@contextmanager
def _lines(line: Callable[[], str]) -> Iterator[None]:
    """The line as it is after a moment and then every few seconds, until the block ends."""
    ended = threading.Event()

    def speak() -> None:
        pause = FIRST
        while not ended.wait(pause):
            say(line())
            pause = EVERY

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        ended.set()
        speaker.join()


def _bar(*counts: ProgressColumn, transient: bool = False) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *counts)
    times = (TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn())
    return Progress(*columns, *times, console=Console(stderr=True), transient=transient)


def say(text: str) -> None:
    """What a person should read before or beside the results."""
    print(plain(text), file=sys.stderr, flush=True)
