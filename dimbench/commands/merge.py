from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dimbench import results
from dimbench.commands import options
from dimbench.commands.emit import output_file
from dimbench.comparing.merging import merged
from dimbench.errors import DimbenchError
from dimbench.results import Record


def run(
    files: Annotated[list[Path], typer.Argument(help="Records that the jobs of an array wrote.", metavar="FILES...")],
    out: options.Out = None,
) -> None:
    """Put the records of shards into one file, unless rows are missing, doubled or made by another version."""
    found = merged(files)
    if found.faults:
        said = "".join(f"\n  {fault}" for fault in found.faults)
        raise DimbenchError(f"{len(files)} files make no whole, and nothing was written:{said}")
    file = output_file(out)
    results.append([Record(**record) for record in found.records], file)
    typer.echo(f"{len(found.records)} records of {len(files)} files are in {file}")
