from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dimbench import results
from dimbench.commands import options
from dimbench.commands.emit import output_file
from dimbench.comparing.merging import merged
from dimbench.errors import DimbenchError, UsageError
from dimbench.results import Record


def run(
    files: Annotated[list[Path], typer.Argument(help="Records that the jobs of an array wrote.", metavar="FILES...")],
    out: options.Out = None,
) -> None:
    """Put the records of shards into one file, unless rows are missing, doubled or made by another version."""
    file = output_file(out)
    if file.exists() and (given := [each for each in files if each.exists() and each.samefile(file)]):
        raise UsageError(f"{given[0]} is to be merged and cannot hold the whole; give another file with --out")
    found = merged(files)
    if found.faults:
        said = "".join(f"\n  {fault}" for fault in found.faults)
        raise DimbenchError(f"no whole comes of the files, and nothing was written:{said}")
    there = results.so_far(file)
    results.append([Record(**record) for record in found.records if record not in there], file)
    typer.echo(f"{len(found.records)} records of {len(files)} files are in {file}")
