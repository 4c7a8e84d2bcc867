"""What every measuring command does at its end: store the records, then print them or a table of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from dimbench import paths, results
from dimbench.errors import DimbenchError, UsageError, reason
from dimbench.files import replacing
from dimbench.report.tables import Table


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
        raise DimbenchError(f"cannot write to {file} ({reason(error)}); give another file with {option}") from None
