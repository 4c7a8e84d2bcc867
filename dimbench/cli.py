"""The command line: which commands there are, in the order of --help, and how errors become exit codes."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from dimbench import address_space, processor
from dimbench.commands import dialect, root
from dimbench.errors import DimbenchError, UsageError, is_short_of_memory, reason
from dimbench.escaping import plain
from dimbench.launcher import launch
from dimbench.progress import slow_imports_said

# In the order of --help, each with its group there; their files in commands/ have their names.
GROUPS = {
    "Count": ("list", "choose", "params", "flops", "cost"),
    "Measure": ("bench", "sweep", "device", "kernels", "doctor"),
    "Draw and evaluate": ("sample", "fid", "fdr", "fid-lottery", "stats", "train"),
    "Compare": ("compare", "calibrate", "frontier", "methods"),
    "Papers": ("table", "audit", "recipes", "plot"),
    "Files": ("report", "merge", "weights"),
}
COMMANDS = {
    name: "list_models" if name == "list" else name.replace("-", "_") for group in GROUPS.values() for name in group
}
SHARED = ("sample", "fid", "stats")  # by the processes of a launcher
DRAWING = (*SHARED, "fid-lottery", "train")  # long, and no times are taken but by the way
# For which a twin is a disturbance.
TIMED = ("bench", "sweep", "device", "compare", "calibrate", "frontier", "kernels")
_FOLDER = Path(__file__).with_name("commands")
_HELP = re.compile(r'^def run\(.*?"""(.*?)(?:\n\n|""")', re.DOTALL | re.MULTILINE)


class OnDemand(TyperGroup):
    """Imports the one command that is asked for; of the others it knows the names, and reads their help."""

    _around: ExitStack | None = None  # what the command runs inside

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        with slow_imports_said(), ExitStack() as self._around:
            return super().invoke(ctx)

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return list(self.commands)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": _named()})

    def format_help(self, *page: Any) -> None:
        for name, command in self.commands.items():
            found = _HELP.search((_FOLDER / f"{COMMANDS[name]}.py").read_text(encoding="utf-8"))
            command.help = found and " ".join(found[1].split())
        super().format_help(*page)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if self._around:
            self._around.enter_context(_prepared(args[0]))
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and loaded(command.name or ""), rest


def _named() -> dict[str, TyperCommand]:
    return {
        name: TyperCommand(name, rich_help_panel=group, add_help_option=False)
        for group, names in GROUPS.items()
        for name in names
    }


@contextmanager
def _prepared(name: str) -> Iterator[None]:
    """Inside, the process is set up for the command of that name."""
    if name in DRAWING:
        processor.share_cores()
    if name in (*DRAWING, *TIMED):
        processor.keep_memory()
    with _among_ranks(name):
        yield


@contextmanager
def _among_ranks(name: str) -> Iterator[None]:
    """Inside, a command that can shares its work with the other processes of a launcher; of one with nothing to share
    the first process alone comes here. UsageError where one would time beside another."""
    started = launch()
    if name in TIMED and started.beside > 1:
        raise UsageError(
            f"{started.name} started {started.beside} processes on one machine, and `{name}` times what runs "
            "there alone; start one on each, and share the rows of bench, sweep or frontier with --shard i/n"
        )
    if started.world == 1 or name in TIMED:
        yield
    elif name in SHARED:
        from dimbench.sampling import ranks

        with ranks.joined():
            yield
    elif started.first:
        yield
    else:
        raise typer.Exit


def loaded(name: str) -> Any:
    """The command of that name, imported, with the options that all have."""
    module = import_module(f"dimbench.commands.{COMMANDS[name]}")
    whole = getattr(module, "app", None)
    if whole is None:
        whole = typer.Typer(add_completion=False)
        whole.command(name, cls=dialect.Command)(module.run)
    command = typer.main.get_command(whole)
    command.name = name
    for each in (command, *getattr(command, "commands", {}).values()):
        each.params += _parameters(root.everywhere)
    return command


def _parameters(function: Any) -> list[Any]:
    """What typer makes of a function's parameters."""
    alone = typer.Typer(add_completion=False)
    alone.command()(function)
    return typer.main.get_command(alone).params


app = typer.Typer(
    help="Compare diffusion backbones under one stated rule, beside what their papers claim.",
    callback=root.options,
    cls=OnDemand,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; errors a person can act on end as one sentence and an exit code."""
    with _terminable():
        address_space.watch()
        _run()


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM, by which CI cancels, ends a command as Ctrl-C does, with an exit code of its own."""
    came: list[int] = []

    def interrupt(number: int, _: object) -> None:
        came.append(number)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is left to do is tidying up
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if came:
            sys.exit(128 + signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _run() -> None:
    try:
        app()
    except DimbenchError as error:
        print(plain(f"dimbench: {error}"), file=sys.stderr)
        sys.exit(error.exit_code)
    except (MemoryError, ImportError, RuntimeError) as error:
        if not is_short_of_memory(error):
            raise
        print(
            plain(f"dimbench: the memory does not suffice ({reason(error)}); free some, or ask for less"),
            file=sys.stderr,
        )
        sys.exit(1)
    except OSError as error:
        said = f"dimbench: {reason(error)}{f': {error.filename}' if error.filename else ''}"
        print(plain(said), file=sys.stderr)
        sys.exit(1)
