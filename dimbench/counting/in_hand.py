"""The records of a backbone that is counted now, by whom and on what one likes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from dimbench.backbone import Backbone, created, example
from dimbench.counting import parameters, records
from dimbench.counting.bill import Inputs
from dimbench.counting.costs import Fill, count, skeleton
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
    fill: Fill | None = None,
) -> Record:
    """What one pass costs by `rule`, beside what papers claim of it; by fvcore where `engine` says so. `check` counts
    with fvcore and torch as well; `bill` keeps the lines; `real` counts on real tensors, with the initial weights or
    what `fill` puts there."""
    records.check_rule(rule, backbone.name, backbone.preset)
    found = count(backbone, batch=batch, real=real, fill=fill)
    record = records.of_pass(found, backbone.preset, rule)
    details: dict[str, Any] = {**record.details, "counted_on": found.bill.counted_on}
    conditions, metrics = dict(record.conditions), dict(record.metrics)
    if engine == FVCORE or check:
        from dimbench.counting import engines
    if engine == FVCORE:
        by_fvcore, skipped = engines.apart(lambda: engines.fvcore(*called(backbone)))
        macs = sum(by_fvcore.values())
        metrics.update(macs=macs, flops=2 * macs)
        conditions.update(rule="fvcore with handles", engine=FVCORE)
        calls = {name: [calls, None] for name, calls in skipped.items()}
        details.update(rule=engines.FVCORE_RULE, uncounted=calls, missing={})
    if check:
        details["check"], details["failed"] = engines.compare(lambda: called(backbone), found.bill)
    if bill:
        details["bill"] = RULES[rule].rows(found.bill)
    return replace(record, conditions=conditions, metrics=metrics, details=details)


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
    merged = parameters.count(running)["params"]
    record = records.of_parameters(backbone.name, backbone.conditions, parameters.count(model), merged)
    return replace(record, details={"modules": parameters.by_module(model)}) if modules else record
