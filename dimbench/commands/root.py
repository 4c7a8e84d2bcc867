"""Options of the program itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dimbench import __version__


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"dimbench {__version__}, torch {version('torch')}")
        raise typer.Exit


def _add(places: list[Path] | None) -> None:
    """For this process and those that it starts."""
    from dimbench.preset_files import ENVIRONMENT

    before = os.environ.get(ENVIRONMENT)
    if places:
        os.environ[ENVIRONMENT] = os.pathsep.join(
            [*(str(place.resolve()) for place in places), *filter(None, [before])]
        )


Presets = Annotated[
    list[Path] | None,
    typer.Option(
        help="Presets of your own, a .toml file or a folder; may be given again.",
        metavar="FILE|FOLDER",
        callback=_add,
        is_eager=True,
        expose_value=False,
        show_default="dimbench.toml here, $DIMBENCH_PRESETS",
    ),
]


def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the versions of dimbench and torch, and exit.",
            callback=_show_version,
            is_eager=True,
        ),
    ] = False,
    presets: Presets = None,
) -> None:
    pass


def _show_whole(context: typer.Context, wanted: bool) -> None:
    """Until the command ends."""
    if wanted:
        from dimbench.report.tables import wide

        context.with_resource(wide())


def everywhere(
    wide: Annotated[
        bool,
        typer.Option(
            "--wide",
            help="Show every column and every digit of a table, however narrow the terminal.",
            callback=_show_whole,
            expose_value=False,
        ),
    ] = False,
    presets: Presets = None,
) -> None:
    """Options of every command."""
