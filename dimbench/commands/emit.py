"""What every measuring command does at its end: store the records, then print them or a table of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from dimbench import paths, results
from dimbench.errors import DimbenchError, UsageError
from dimbench.files import replacing
from dimbench.report.tables import Table

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

T = TypeVar("T")


def output_file(out: Path | None) -> Path:
    """Where records go, checked before any work is done."""
    file = out or paths.records_file()
    results.check_writable(file)
    return file


def table_format(json: bool, csv: bool, markdown: bool) -> str:
    """The one format that was asked for."""
    wanted = [name for name, given in (("json", json), ("csv", csv), ("markdown", markdown)) if given]
    if len(wanted) > 1:
        raise UsageError(f"--{wanted[0]} and --{wanted[1]} were both given; give one format")
    return wanted[0] if wanted else "rich"


def emit(records: Sequence[results.Record], tables: Iterable[Table], file: Path, form: str) -> None:
    """Append the records to `file`, then print them as JSON, or the tables in the format `form`."""
    results.append(records, file)
    show(records, tables, form)


def show(records: Sequence[results.Record], tables: Iterable[Table], form: str) -> None:
    """Print the records as JSON, or the tables in the format `form`."""
    if form == "json":
        typer.echo(json.dumps([record.as_dict() for record in records], indent=2))
        return
    for table in tables:
        table.show(form)


@contextmanager
def writing(file: Path, option: str) -> Iterator[Path]:
    """A temporary path that becomes `file` when the block ends well; DimbenchError at once where that cannot be."""
    try:
        with replacing(file) as temporary:
            temporary.open("ab").close()
            yield temporary
    except OSError as error:
        raise DimbenchError(f"cannot write to {file} ({error.strerror}); give another file with {option}") from None


def track(items: Sequence[T], what: str) -> Iterator[T]:
    """The items one by one, with a progress bar and the time left on stderr when there are several."""
    from rich.console import Console
    from rich.progress import track as bar

    if len(items) < 2:
        return iter(items)
    return iter(bar(items, description=what, console=Console(stderr=True), transient=True))


@contextmanager
def stepping(what: str, total: int | None, done: int = 0) -> Iterator[Callable[..., None]]:
    """A progress bar with the time left on stderr; call the result with the steps done, perhaps a few words, and the
    total where it has become another."""
    from rich.progress import MofNCompleteColumn, TextColumn

    with _bar(MofNCompleteColumn(), TextColumn("{task.fields[words]}")) as bar:
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

    columns = (TextColumn("{task.description}"), BarColumn(), *counts)
    times = (TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn())
    return Progress(*columns, *times, console=Console(stderr=True))
