"""What every measuring command does at its end: store the records, then print them or a table of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import typer

from dimbench import paths, results
from dimbench.commands.dialect import Form
from dimbench.errors import DimbenchError, reason
from dimbench.files import replacing
from dimbench.report.tables import Table
from dimbench.report.tables import show as show_tables


def output_file(out: Path | None) -> Path:
    """Where records go, checked before any work is done."""
    file = out or paths.records_file()
    results.check_writable(file)
    return file


def emit(records: Sequence[results.Record], tables: Iterable[Table], file: Path, form: Form) -> None:
    """Append the records to `file`, then print them as JSON, or the tables in the format `form`."""
    results.append(records, file)
    show(records, tables, form)


def show(records: Sequence[results.Record], tables: Iterable[Table], form: Form) -> None:
    """Print the records as JSON, or the tables in the format `form`."""
    show_entries(lambda: [record.as_dict() for record in records], tables, form)


def show_entries(entries: Callable[[], object], tables: Iterable[Table], form: Form) -> None:
    """Print what is no record: what `entries` gives as JSON, or the tables in the format `form`."""
    if form is Form.JSON:
        typer.echo(json.dumps(entries(), indent=2))
    elif form is Form.HTML:
        from dimbench.report import html

        typer.echo(html.page_of(tables))
    else:
        show_tables(tables, form)


def show_rows(table: Table, form: Form) -> None:
    """Print a table whose cells are all there is to say, which are its JSON too."""
    columns, rows = table.for_programs()
    show_entries(lambda: [dict(zip(columns, row, strict=True)) for row in rows], [table], form)


@contextmanager
def writing(file: Path, option: str) -> Iterator[Path]:
    """A temporary path that becomes `file` when the block ends well; DimbenchError at once where that cannot be."""
    try:
        with replacing(file) as temporary:
            temporary.open("ab").close()
            yield temporary
    except OSError as error:
        raise _unwritable(file, option, error) from None


def check_place(file: Path, option: str) -> None:
    """Raise DimbenchError where `file` could not be written after long work; no file is made."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=file.parent).close()
    except OSError as error:
        raise _unwritable(file, option, error) from None


def _unwritable(file: Path, option: str, error: OSError) -> DimbenchError:
    return DimbenchError(f"cannot write to {file} ({reason(error)}); give another file with {option}")
