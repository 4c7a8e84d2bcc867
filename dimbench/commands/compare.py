from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from dimbench import presets, results
from dimbench.commands import calibrate, checkouts, options
from dimbench.commands.checkouts import Side
from dimbench.commands.emit import emit, output_file, stepping, table_format
from dimbench.commands.rounds import Comparison, Runner
from dimbench.errors import DimbenchError, UsageError
from dimbench.report import changes as shown
from dimbench.report import pairs
from dimbench.report.compare import Change, Pair, failing, judge
from dimbench.report.estimate import Noise
from dimbench.report.gates import Gate, parse_gate

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
    json: options.Json = False,
    csv: options.Csv = False,
    markdown: options.Markdown = False,
    out: options.Out = None,
) -> None:
    """Say what got slower and what is noise, between two record files, two commits or two settings.

    Measured sides run in turn in fresh processes; what is unclear gets more rounds, what is slower a second comparison.
    Exit codes: 0, 1 error, 2 usage, 3 regression confirmed.
    """
    form = table_format(json, csv, markdown)
    gates = [parse_gate(text) for text in fail_if or ["seconds"]]
    rules = Rules(gates, calibrate.known())
    if ref is None and a is None and b is None:
        if len(names) != 2 or new or bench:
            raise UsageError("give two record files, BASE and NEW; or models to measure, with --run REF, --a or --b")
        file = output_file(out)
        found = _compare_files(names[0], names[1], rules)
    else:
        models = [preset.name for preset in presets.match(names)]
        file = output_file(out)
        with _sides(ref, new, a or "", b or "", bench) as sides:
            found = _compare_sides(sides, models, rules, rounds, partial(checkouts.bench, budget=budget), seed)
    failed = failing(found.changes, gates, fail_on is FailOn.UNCLEAR)
    records = [
        shown.record(change, sides=found.labels, order=found.order.get(change.pair.model, []))
        for change in found.changes
    ]
    if records:
        emit(records, [shown.table(found.changes, _notes(found, rules, failed))], file, form)
    if found.stopped:
        raise found.stopped
    absent = [text for text, gate in zip(fail_if or (), gates, strict=False) if gate.metric not in found.metrics]
    if absent:
        raise UsageError(f"--fail-if {absent[0]} looks at nothing: no row has it on both sides; leave it out")
    if failed:
        raise typer.Exit(FAILED)


@dataclass(frozen=True)
class Rules:
    """By what a change is judged: the user's gates, and the noise of this host's devices by their name."""

    gates: Sequence[Gate]
    noise: Mapping[str, Noise]

    @property
    def metrics(self) -> list[str]:
        return [gate.metric for gate in self.gates]

    def judge(self, found: Sequence[Pair]) -> list[Change]:
        margins = {gate.metric: gate.margin for gate in self.gates if gate.margin is not None}
        return judge(found, margins, [self.noise.get(pair.conditions.get("device_name", "")) for pair in found])


@dataclass(frozen=True)
class Found:
    """The changes, what BASE and NEW are, in which order the sides ran (by model, of the first and of the second
    comparison), and what stopped the measuring before its end."""

    changes: Sequence[Change]
    labels: Mapping[str, str]
    left_out: Sequence[str] = ()
    order: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stopped: BaseException | None = None

    @property
    def metrics(self) -> set[str]:
        return {change.pair.metric for change in self.changes}


def _compare_files(base: str, new: str, rules: Rules) -> Found:
    found, left_out = pairs.of_files(results.read(Path(base)), results.read(Path(new)), rules.metrics)
    return Found(rules.judge(found), {"BASE": base, "NEW": new}, left_out)


def _compare_sides(
    sides: tuple[Side, Side], models: Sequence[str], rules: Rules, rounds: int, runner: Runner, seed: int
) -> Found:
    stopped: BaseException | None = None
    with stepping("comparing", None) as progress:
        comparison = Comparison(sides, runner, seed, rules.judge, rules.metrics, progress)
        try:
            comparison.measure(models, rounds)
        except (KeyboardInterrupt, DimbenchError) as reason:  # the finished rounds are shown and stored first
            stopped = reason
    labels = {"BASE": sides[0].label, "NEW": sides[1].label}
    return Found(comparison.changes(), labels, [], comparison.order, stopped)


def _notes(found: Found, rules: Rules, failed: Sequence[Change]) -> list[str]:
    """What stands below the table, the upshot last."""
    notes = [f"{name} is {label}." for name, label in found.labels.items()]
    notes += [*found.left_out, *shown.margins(found.changes, rules.noise)]
    stopped = "Stopped before its end: only finished rounds count."
    return [*notes, stopped if found.stopped else shown.outcome(failed, rules.metrics)]


@contextmanager
def _sides(ref: str | None, new: Path | None, a: str, b: str, common: str) -> Iterator[tuple[Side, Side]]:
    """BASE and NEW: a commit and a checkout, or the dimbench that runs now under two settings."""
    first, second = (tuple(shlex.split(f"{common} {own}")) for own in (a, b))
    if ref is None:
        if new:
            raise UsageError(f"--new {new} was given without --run; give the commit to compare it with as --run REF")
        here = checkouts.here()
        labels = (" ".join(("bench", *words)) for words in (first, second))
        yield Side(next(labels), here, first), Side(next(labels), here, second)
        return
    root = checkouts.find(new)
    with checkouts.worktree(root, ref) as (place, commit):
        now = "the current checkout" if new is None else f"the checkout {root.name}"
        yield Side(f"{ref} ({commit})", place, first), Side(now, root, second)
