from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from dimbench import presets
from dimbench.commands import options
from dimbench.commands.emit import emit, output_file
from dimbench.comparing import checkouts, noise, outcome
from dimbench.comparing.gates import parse_gate
from dimbench.comparing.judge import Change, failing
from dimbench.comparing.kept_rounds import KeptRounds
from dimbench.comparing.outcome import Found, JudgedBy
from dimbench.errors import UsageError
from dimbench.report import changes as shown

FAILED = 3  # the exit code


class FailOn(StrEnum):
    REGRESSION = "regression"
    UNCLEAR = "unclear"


def run(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Two record files, or with --run, --a or --b the models to measure.", metavar="BASE NEW | NAME..."
        ),
    ],
    ref: Annotated[
        str | None,
        typer.Option("--run", help="Measure this commit as BASE.", metavar="REF", show_default="none"),
    ] = None,
    new: Annotated[
        Path | None, typer.Option(help="With --run: the checkout that is NEW.", show_default="the current one")
    ] = None,
    a: Annotated[
        str | None, typer.Option("--a", help="Options of bench for BASE, such as '--kernel cpu'.", show_default="none")
    ] = None,
    b: Annotated[str | None, typer.Option("--b", help="Options of bench for NEW.", show_default="none")] = None,
    bench: options.ForBench = "",
    rounds: options.Rounds = 10,
    budget: options.RoundBudget = 3.0,
    seed: options.OrderSeed = 0,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            help="Exit with 3 if this got worse by more: seconds:+5%, fid:+0.05; or changed at all: macs, params.",
            metavar="METRIC[:MARGIN]",
            show_default="seconds, by 5%, on a GPU 2%",
        ),
    ] = None,
    fail_on: Annotated[
        FailOn, typer.Option(help="unclear: exit with 3 also if a metric of --fail-if stays unclear.")
    ] = FailOn.REGRESSION,
    form: options.Format = options.Form.RICH,
    out: options.Out = None,
) -> None:
    """Say what got slower and what is noise, between two record files, two commits or two settings.

    Measured sides run in turn in fresh processes; what is unclear gets more rounds, what changed a second comparison.
    Exit codes: 0, 1 error, 2 usage, 3 regression confirmed.
    """
    gates = [parse_gate(text) for text in fail_if or ["seconds"]]
    rules = JudgedBy(gates, noise.known())
    kept: KeptRounds | None = None
    if ref is None and a is None and b is None:
        if len(names) != 2 or new or bench:
            raise UsageError("give two record files, BASE and NEW; or models to measure, with --run REF, --a or --b")
        file = output_file(out)
        found = outcome.of_files(names[0], names[1], rules)
    else:
        models = [presets.anywhere(name) for name in presets.chosen(names)]
        file = output_file(out)
        with outcome.sides(ref, new, a or "", b or "", bench) as measured:
            kept = KeptRounds(measured, budget, seed, *map(presets.code_of, models))
            runner = partial(checkouts.bench, budget=budget)
            found = outcome.of_sides(measured, models, rules, rounds, runner, seed, kept)
    failed = failing(found.changes, gates, fail_on is FailOn.UNCLEAR)
    absent = [text for text, gate in zip(fail_if or (), gates, strict=False) if gate.metric not in found.metrics]
    records = [
        shown.record(change, sides=found.labels, order=found.order.get(change.pair.model, []))
        for change in found.changes
    ]
    if records:
        table = shown.table(found.changes, _notes(found, rules, failed, absent), whole=form == "csv")
        emit(records, [table], file, form)
    if kept and not found.stopped:
        kept.forget()
    if isinstance(found.stopped, KeyboardInterrupt):
        words = (
            f"what the finished rounds say is in {file}; the same command goes on from them"
            if records
            else "no round was finished"
        )
        print(f"dimbench: interrupted; {words}", file=sys.stderr)
    if found.stopped:
        raise found.stopped
    if failed:
        raise typer.Exit(FAILED)
    if absent:
        raise UsageError(_looks_at_nothing(absent[0]))


def _looks_at_nothing(gate: str) -> str:
    return f"--fail-if {gate} looks at nothing: no row has it on both sides; leave it out"


def _notes(found: Found, rules: JudgedBy, failed: Sequence[Change], absent: Sequence[str]) -> list[str]:
    """What stands below the table, the upshot last."""
    notes = [f"{name} is {label}." for name, label in found.labels.items()]
    notes += [*found.left_out, *shown.margins(found.changes, rules.noise)]
    notes += [f"{_looks_at_nothing(gate)}." for gate in absent]
    stopped = "Stopped before its end: only finished rounds count."
    return [*notes, stopped if found.stopped else shown.outcome(failed, rules.metrics)]
