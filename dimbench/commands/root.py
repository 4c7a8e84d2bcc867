"""Options of the program itself."""

from __future__ import annotations

from typing import Annotated

import typer

from dimbench import __version__


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dimbench {__version__}")
        raise typer.Exit


def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass
