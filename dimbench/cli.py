"""The command line: which commands there are, in the order of --help, and how errors become exit codes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from dimbench.commands import (
    audit,
    bench,
    calibrate,
    compare,
    device,
    fid,
    flops,
    kernels,
    list_models,
    params,
    plot,
    recipes,
    report,
    root,
    sample,
    stats,
    sweep,
    table,
    train,
    weights,
)
from dimbench.errors import DimbenchError, is_short_of_memory, reason
from dimbench.escaping import plain

app = typer.Typer(
    help="Compare diffusion backbones under one stated rule, beside what their papers claim.",
    callback=root.options,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("list")(list_models.run)
app.command("params")(params.run)
app.command("flops")(flops.run)
app.command("table")(table.run)
app.command("audit")(audit.run)
app.command("plot")(plot.run)
app.command("bench")(bench.run)
app.command("sweep")(sweep.run)
app.command("device")(device.run)
app.command("compare")(compare.run)
app.command("calibrate")(calibrate.run)
app.command("sample")(sample.run)
app.command("fid")(fid.run)
app.command("stats")(stats.run)
app.command("recipes")(recipes.run)
app.command("train")(train.run)
app.command("report")(report.run)
app.command("kernels")(kernels.run)
app.add_typer(weights.app, name="weights")


def main() -> None:
    """Run the command line; errors a person can act on end as one sentence and an exit code."""
    with _terminable():
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
