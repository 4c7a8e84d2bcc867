from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from dimbench import presets
from dimbench.commands import options
from dimbench.commands.emit import emit, output_file, table_format
from dimbench.errors import UsageError
from dimbench.presets import Preset
from dimbench.progress import track
from dimbench.report import bills
from dimbench.results import Record
from dimbench.sampling import decoding


class RuleName(StrEnum):
    """The names of dimbench.counting.rules.RULES, here so that --help needs no torch; a test compares the two."""

    MACS = "macs"
    DIT_PAPER = "dit-paper"
    CALFLOPS = "calflops"
    FVCORE = "fvcore"
    TORCHPROFILE = "torchprofile"
    FVCORE_FUSED = "fvcore-fused"
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
    batch: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 1,
    rule: Annotated[RuleName, typer.Option(help="How the bill is added up.")] = RuleName.MACS,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Network calls per image: adds the cost of a whole image.", show_default="one pass"),
    ] = None,
    cfg: Annotated[bool, typer.Option("--cfg", help="With --steps: guided, so two passes per call.")] = False,
    breakdown: Annotated[
        Breakdown | None, typer.Option(help="Show where the multiply-adds are spent.", show_default="none")
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="Who counts: our trace, or fvcore with handles for attention, scan and Haar.")
    ] = Engine.OURS,
    check: Annotated[
        bool, typer.Option("--check", help="Count with our trace, fvcore and torch, and compare by operator.")
    ] = False,
    json: options.Json = False,
    csv: options.Csv = False,
    markdown: options.Markdown = False,
    out: options.Out = None,
) -> None:
    """Count the multiply-adds (MACs) of one forward pass, and FLOPs = 2 x MACs, without loading any weights."""
    form = table_format(json, csv, markdown)
    if cfg and steps is None:
        raise UsageError("--cfg was given without --steps; give the network calls per image with --steps N")
    if engine is Engine.FVCORE and (rule is not RuleName.MACS or breakdown):
        raise UsageError("--engine fvcore has a rule of its own and knows no modules; leave out --rule and --breakdown")
    chosen = presets.match(names)
    file = output_file(out)
    image = {"steps": steps, "guided": cfg} if steps else {}
    records = []
    for preset in track(chosen, "counting"):
        conditions = {"resolution": resolution or preset.resolution, "batch": batch, "rule": rule.value, **image}
        records.append(_count(preset, conditions, engine, breakdown is not None, check))
    tables = [bills.summary(records)]
    if breakdown:
        tables += [bills.by_module(r) if breakdown is Breakdown.MODULE else bills.by_operator(r) for r in records]
    if check:
        tables += [bills.check(record) for record in records]
    emit(records, tables, file, form)


def _count(preset: Preset, conditions: dict[str, Any], engine: Engine, breakdown: bool, check: bool) -> Record:
    from dimbench import backbone
    from dimbench.counting import costs as counting
    from dimbench.counting import engines
    from dimbench.counting.rules import RULES

    resolution, batch = conditions["resolution"], conditions["batch"]
    counted = counting.count(preset.name, resolution, batch)
    bill = counted.bill
    rule = RULES[conditions["rule"]]
    details: dict[str, Any] = {
        "rule": {"says": rule.says, "source": rule.source},
        "uncounted": bill.uncounted,
        "dead_macs": bill.dead_macs // batch,
        "claims": [
            {"prints": claim.gflops, "rule": claim.rule, "macs": counted.macs(claim.rule)}
            for claim in preset.claims
            if claim.resolution == resolution and claim.gflops
        ],
    }
    macs = counted.macs(rule.name)
    if engine is Engine.FVCORE or check:
        real = backbone.for_inference(preset, backbone.create_model(preset.name, resolution=resolution))
        inputs = backbone.example_inputs(preset, real, 1)
        by_fvcore, skipped = engines.fvcore(real, inputs)
        if engine is Engine.FVCORE:
            macs = sum(by_fvcore.values())
            details.update(rule=engines.FVCORE_RULE, uncounted={name: [calls, None] for name, calls in skipped.items()})
            conditions = {**conditions, "rule": "fvcore with handles"}
        if check:
            by_torch = engines.torch_counter(real, inputs)
            details["check"] = {"dimbench": engines.ours(bill), "fvcore": by_fvcore, "torch": by_torch}
    if breakdown:
        details["bill"] = rule.rows(bill)
    metrics = {**counted.params, "params_inference": counted.merged, "macs": macs, "flops": 2 * macs}
    if "steps" in conditions:
        calls = conditions["steps"] * (2 if conditions["guided"] else 1)
        metrics |= {"passes_per_image": calls, "macs_per_image": calls * macs, "flops_per_image": 2 * calls * macs}
        if preset.latent_stride > 1:
            metrics["decode_macs"] = decoding.macs(resolution // preset.latent_stride)
    conditions = {**conditions, "engine": engine.value, "form": counted.form}
    return Record("flops", preset.name, conditions, metrics, details=details)
