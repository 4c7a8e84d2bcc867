"""How far long work is, on stderr: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from time import monotonic
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, TypeVar

from dimbench import units
from dimbench.escaping import plain
from dimbench.launcher import launch

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

T = TypeVar("T")
FIRST, EVERY = 0.5, 5.0  # seconds until the first line where there is no terminal, and between it and others
SLOW = ("torch", "torchvision", "torch_fidelity", "diffusers", "transformers", "pandas")  # to import


def track(items: Sequence[T], what: str) -> Iterator[T]:
    """The items one by one; where there are several, with a progress bar and the time left on stderr."""
    if len(items) < 2:
        for item in items:
            with doing(what):
                yield item
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
        with _shown(_Lines(lambda: steps.says)):
            yield steps
        return
    from rich.progress import MofNCompleteColumn, TextColumn

    bar = _bar(MofNCompleteColumn(), TextColumn("{task.fields[words]}", markup=False), transient=transient)
    task = bar.add_task(what, total=total, completed=done, words="")

    def progress(done: float, words: str = "", total: float | None = None) -> None:
        bar.update(task, completed=done, words=words, total=total)

    with _shown(bar):
        yield progress


@contextmanager
def transferring(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar in bytes with the time left on stderr; call the result with the bytes here and those in all."""
    if not sys.stderr.isatty():
        steps = _Steps(what, None, 0, lambda number: units.size(int(number)))
        with _shown(_Lines(lambda: steps.says)):
            yield lambda here, in_all: steps(here, total=in_all)
        return
    from rich.progress import DownloadColumn, TransferSpeedColumn

    bar = _bar(DownloadColumn(), TransferSpeedColumn())
    task = bar.add_task(what, total=None)
    with ExitStack() as begun:

        def progress(here: int, in_all: int | None) -> None:
            if not bar.live.is_started:  # nothing is shown before something comes
                begun.enter_context(_shown(bar))
            bar.update(task, completed=here, total=in_all)

        yield progress


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Says what is done, where there is nothing to count: on a terminal at once and until it is done, elsewhere where
    it takes longer than a moment. Of several processes that a launcher started the first one says it."""
    if not launch().first:
        yield
        return
    display: _Display
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        display = bar = Progress(*columns, console=Console(stderr=True), transient=True)
        bar.add_task(what, total=None)
    else:
        began = monotonic()
        display = _Lines(lambda: f"{what}: {monotonic() - began:.0f} s")
    with _shown(display):
        yield


@contextmanager
def slow_imports_said() -> Iterator[None]:
    """Inside, whoever imports one of SLOW is `doing` that."""
    finder = _SlowFinder()
    sys.meta_path.insert(sys.meta_path.index(PathFinder), finder)  # behind whoever tries an import first
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _SlowFinder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        found = PathFinder.find_spec(fullname, path) if fullname in SLOW else None
        if found and isinstance(found.loader, SourceFileLoader):
            found.loader = _SlowLoader(found.loader.name, found.loader.path)
        return found


class _SlowLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        with doing(f"loading {module.__name__}"):
            super().exec_module(module)


class _Display(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...


_showing: list[_Display] = []  # one inside the other, of which the innermost is seen


@contextmanager
def _shown(display: _Display) -> Iterator[None]:
    """Until the block ends it is seen in the place of what is shown around it."""
    if _showing:
        _showing[-1].stop()
    _showing.append(display)
    display.start()
    try:
        yield
    finally:
        display.stop()
        _showing.remove(display)
        if _showing:
            _showing[-1].start()


class _Steps:
    """How far the work is, as a line."""

    def __init__(
        self, what: str, total: float | None, done: float, read: Callable[[float], str] = "{:,.0f}".format
    ) -> None:
        self._what, self._total, self._words, self._read = what, total, "", read
        self._first = self._done = done
        self._began = monotonic()

    def __call__(self, done: float, words: str = "", total: float | None = None) -> None:
        if done < self._done:  # another piece of work begins
            self._first, self._began = done, monotonic()
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


class _Lines:
    """The line as it is after a moment and then every few seconds."""

    def __init__(self, line: Callable[[], str]) -> None:
        self._line, self._pause = line, FIRST
        self._speaker: threading.Thread | None = None
        self._ended = threading.Event()

    def start(self) -> None:
        self._ended.clear()
        self._speaker = threading.Thread(target=self._speak, daemon=True)
        self._speaker.start()

    def stop(self) -> None:
        self._ended.set()
        if self._speaker:
            self._speaker.join()

    def _speak(self) -> None:
        while not self._ended.wait(self._pause):
            say(self._line())
            self._pause = EVERY


def _bar(*counts: ProgressColumn, transient: bool = False) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *counts)
    times = (TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn())
    return Progress(*columns, *times, console=Console(stderr=True), transient=transient)


def say(text: str) -> None:
    """What a person should read before or beside the results."""
    print(plain(text), file=sys.stderr, flush=True)
