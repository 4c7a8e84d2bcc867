"""The record of a count."""

from __future__ import annotations

from typing import Any

from dimbench.backbone import Backbone
from dimbench.counting import engines, parameters
from dimbench.counting.costs import count, skeleton
from dimbench.counting.rules import RULES
from dimbench.results import Record

OURS, FVCORE = "ours", "fvcore"


def counted(
    backbone: Backbone, batch: int = 1, rule: str = "macs", engine: str = OURS, check: bool = False, bill: bool = False
) -> Record:
    """What one pass costs by `rule`, beside what papers claim of it; by fvcore where `engine` says so. `check` counts
    with fvcore and torch as well; `bill` keeps the lines."""
    found = count(backbone, batch=batch)
    by = RULES[rule]
    details: dict[str, Any] = {
        "rule": {"says": by.says, "source": by.source},
        "uncounted": found.bill.uncounted,
        "dead_macs": found.bill.dead_macs // batch,
        "claims": [
            {"prints": claim.gflops, "rule": claim.rule, "macs": found.macs(claim.rule)}
            for claim in (backbone.preset.claims if backbone.preset else ())
            if claim.resolution == backbone.conditions.get("resolution") and claim.gflops
        ],
    }
    macs = found.macs(rule)
    named = rule
    if engine == FVCORE or check:
        by_fvcore, by_torch, skipped = engines.others(backbone)
        if engine == FVCORE:
            macs, named = sum(by_fvcore.values()), "fvcore with handles"
            details.update(rule=engines.FVCORE_RULE, uncounted={name: [calls, None] for name, calls in skipped.items()})
        if check:
            details["check"] = {"dimbench": engines.ours(found.bill), "fvcore": by_fvcore, "torch": by_torch}
    if bill:
        details["bill"] = by.rows(found.bill)
    conditions = {**backbone.conditions, "batch": batch, "rule": named, "engine": engine, "form": found.form}
    metrics = {**found.params, "params_inference": found.merged, "macs": macs, "flops": 2 * macs}
    return Record("flops", backbone.name, conditions, metrics, details=details)


def parameters_counted(backbone: Backbone, modules: bool = False) -> Record:
    """How many parameters it has, of each kind; with `modules` where."""
    model, running = skeleton(backbone)
    metrics = {**parameters.count(model), "params_inference": parameters.count(running)["params"]}
    details = {"modules": parameters.by_module(model)} if modules else {}
    return Record("params", backbone.name, backbone.conditions, metrics, details=details)
