from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dimbench import verbs
from dimbench.commands import options
from dimbench.commands.emit import emit, output_file
from dimbench.errors import DimbenchError, UsageError
from dimbench.report import bills


class RuleName(StrEnum):
    """The names of dimbench.counting.rules.RULES, here so that --help needs no torch; a test compares the two."""

    MACS = "macs"
    DIT_PAPER = "dit-paper"
    CALFLOPS = "calflops"
    FVCORE = "fvcore"
    TORCHPROFILE = "torchprofile"
    FVCORE_FUSED = "fvcore-fused"
    MODULATION_ONCE = "modulation-once"
    SCAN_MAMBA = "scan-mamba"


class Breakdown(StrEnum):
    MODULE = "module"
    OPERATOR = "operator"


class Engine(StrEnum):
    OURS = "ours"
    FVCORE = "fvcore"


def run(
    names: options.Names,
    resolution: options.Resolution = None,
    batch: Annotated[int, typer.Option(min=1, max=options.MOST_IMAGES, help="Images per forward pass.")] = 1,
    rule: Annotated[RuleName, typer.Option(help="How the bill is added up.")] = RuleName.MACS,
    set_: options.Settings = None,
    inputs: options.Inputs = None,
    process: options.Process = None,
    frames: options.Frames = None,
    fetch: options.Fetch = False,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="Steps of the sampler: adds the cost of a whole image as executed.", show_default="one pass"
        ),
    ] = None,
    cfg: Annotated[bool, typer.Option("--cfg", help="With --steps: guided.")] = False,
    usual: Annotated[
        bool,
        typer.Option("--usual", help="Cost of a whole image or clip, drawn by the family's usual steps and guidance."),
    ] = False,
    sampler: options.Sampler = None,
    with_: options.With = None,
    guide: options.Guide = None,
    breakdown: Annotated[
        Breakdown | None, typer.Option(help="Show where the multiply-adds are spent.", show_default="none")
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="Who counts: our trace, or fvcore with handles for attention, scan and Haar.")
    ] = Engine.OURS,
    check: Annotated[
        bool, typer.Option("--check", help="Count with our trace, fvcore and torch, and compare by operator.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where an operator multiplies and sums and no formula is known.")
    ] = False,
    real: Annotated[
        bool, typer.Option("--real", help="Count on real tensors, where the cost depends on values; takes the time.")
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(help="With --real: checkpoint, as for `sample`.", show_default="the initial weights"),
    ] = None,
    form: options.Format = options.Form.RICH,
    out: options.Out = None,
) -> None:
    """Count the multiply-adds (MACs) of one forward pass, and FLOPs = 2 x MACs, without loading any weights."""
    if usual and (steps is not None or cfg or sampler):
        raise UsageError("--usual is a sampler, its steps and guidance; leave it out, or --steps, --cfg and --sampler")
    if steps is None and not usual and (cfg or sampler or with_ or guide is not None):
        given = f"--with {with_[0]}" if with_ else f"--guide {guide}"
        given = "--cfg" if cfg else f"--sampler {sampler}" if sampler else given
        raise UsageError(f"{given} was given without --steps; give the steps of the sampler with --steps N")
    if engine is Engine.FVCORE and (rule is not RuleName.MACS or breakdown):
        raise UsageError("--engine fvcore has a rule of its own and knows no modules; leave out --rule and --breakdown")
    chosen = options.chosen(names, set_, fetch)
    if weights and len(chosen) > 1:
        raise UsageError(f"--weights {weights} cannot fit {len(chosen)} models; give one model")
    file = output_file(out)
    records = verbs.count(
        chosen, inputs or (), resolution=resolution, frames=frames, batch=batch, rule=rule.value, steps=steps,
        cfg=cfg, sampler=sampler, usual=usual, process=process, engine=engine.value, check=check,
        bill=breakdown is not None, real=real, weights=weights, methods=options.methods(with_, guide),
    )  # fmt: skip
    if strict and (found := [f"{r.model}: {', '.join(r.details['missing'])}" for r in records if r.details["missing"]]):
        raise DimbenchError(f"--strict: products not counted, for no formula is known ({'; '.join(found)})")
    tables = [bills.summary(records), *bills.text_encoders(records)]
    if breakdown:
        tables += [bills.by_module(r) if breakdown is Breakdown.MODULE else bills.by_operator(r) for r in records]
    if check:
        tables += [bills.check(record) for record in records]
    emit(records, tables, file, form)
