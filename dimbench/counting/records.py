"""The record of a count."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dimbench.backbone import Backbone, created, example
from dimbench.counting import engines, parameters
from dimbench.counting.bill import Inputs
from dimbench.counting.costs import count, skeleton
from dimbench.counting.rules import RULES
from dimbench.layers.inputs import Given
from dimbench.results import Record

OURS, FVCORE = "ours", "fvcore"


def counted(
    backbone: Backbone,
    batch: int = 1,
    rule: str = "macs",
    engine: str = OURS,
    check: bool = False,
    bill: bool = False,
    real: bool = False,
) -> Record:
    """What one pass costs by `rule`, beside what papers claim of it; by fvcore where `engine` says so. `check` counts
    with fvcore and torch as well; `bill` keeps the lines; `real` counts on real tensors."""
    by = RULES[rule]
    by.check(backbone.name, backbone.preset.family if backbone.preset else "")
    found = count(backbone, batch=batch, real=real)
    details: dict[str, Any] = {
        "rule": {"says": by.says, "source": by.source},
        "counted_on": found.bill.counted_on,
        "uncounted": found.bill.uncounted,
        "missing": found.bill.missing,
        "dead_macs": found.bill.dead_macs // batch,
        "claims": [
            {"prints": claim.gflops, "rule": claim.rule, "macs": found.macs(claim.rule)}
            for claim in (backbone.preset.claims if backbone.preset else ())
            if claim.resolution == backbone.conditions.get("resolution") and claim.gflops
        ],
    }
    macs = found.macs(rule)
    named = rule
    if engine == FVCORE:
        by_fvcore, skipped = engines.apart(lambda: engines.fvcore(*called(backbone)))
        macs, named = sum(by_fvcore.values()), "fvcore with handles"
        calls = {name: [calls, None] for name, calls in skipped.items()}
        details.update(rule=engines.FVCORE_RULE, uncounted=calls, missing={})
    if check:
        details["check"], details["failed"] = engines.compare(lambda: called(backbone), found.bill)
    if bill:
        details["bill"] = by.rows(found.bill)
    conditions = {**backbone.conditions, "batch": batch, "rule": named, "engine": engine, "form": found.form}
    metrics = {**found.params, "params_inference": found.merged, "macs": macs, "flops": 2 * macs}
    return Record("flops", backbone.name, conditions, metrics, details=details)


class Called(nn.Module):
    """A backbone's network as other counters want one: forward(x, t, what it is given)."""

    def __init__(self, backbone: Backbone, model: nn.Module) -> None:
        super().__init__()
        self.backbone, self.model = backbone, model

    def forward(self, x: Tensor, t: Tensor, given: Given) -> Tensor:
        return self.backbone.call(self.model, x, t, given)


def called(backbone: Backbone) -> tuple[nn.Module, Inputs]:
    """The network at inference, with weights, and what it is called with for one sample."""
    return Called(backbone, backbone.running(created(backbone))), (example(backbone, 1), {})


def parameters_counted(backbone: Backbone, modules: bool = False) -> Record:
    """How many parameters it has, of each kind; with `modules` where."""
    model, running = skeleton(backbone)
    metrics = {**parameters.count(model), "params_inference": parameters.count(running)["params"]}
    details = {"modules": parameters.by_module(model)} if modules else {}
    return Record("params", backbone.name, backbone.conditions, metrics, details=details)
