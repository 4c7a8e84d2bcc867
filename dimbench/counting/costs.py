"""What a backbone costs: parameters and the bill of one pass, counted on the meta device."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from torch import nn

from dimbench.backbone import Backbone, created, example, find, form_of
from dimbench.counting import parameters
from dimbench.counting.bill import Bill, trace
from dimbench.counting.rules import RULES
from dimbench.meta import shapes_only

# Which parameters a source may mean.
TRAINED = "trained"
MERGED = "merged"
ALL = "all"


@dataclass(frozen=True)
class Count:
    """`params` as dimbench.counting.parameters.count gives them for the trained network, `merged` those at inference;
    `bill` of the network at inference, whose `form` says which that is."""

    params: dict[str, int]
    merged: int
    bill: Bill
    form: str
    tables: int = 0

    def macs(self, rule: str) -> int:
        """Multiply-adds per image by the rule of that name."""
        return RULES[rule].macs(self.bill) // self.bill.batch

    def params_by(self, rule: str) -> int:
        """Parameters that are trained, that are left once branches are merged, or all with the fixed tables."""
        fixed = self.params["params_fixed"] + self.tables
        return {TRAINED: self.params["params"], MERGED: self.merged, ALL: self.params["params"] + fixed}[rule]


def skeleton(backbone: Backbone, real: bool = False) -> tuple[nn.Module, nn.Module]:
    """The network as it is trained and as it runs at inference, shapes only or, where `real`, with its weights."""
    with nullcontext() if real else shapes_only():
        model = created(backbone) if real else backbone.build()
        return model, backbone.running(model)


_KNOWN: dict[tuple[Any, ...], Count] = {}


def count(backbone: Backbone | str, resolution: int | None = None, batch: int = 1, real: bool = False) -> Count:
    """The count of a backbone, or of the preset of that name, for `batch` samples, on shapes or on real tensors; made
    once per process."""
    if isinstance(backbone, str):
        backbone = find(backbone, resolution)
    key = (backbone.text, tuple(backbone.conditions.items()), backbone.state, batch, real)
    if key not in _KNOWN:
        model, running = skeleton(backbone, real)
        with nullcontext() if real else shapes_only():
            x, t, given = example(backbone, batch, "cpu" if real else "meta")
        bill = trace(running, lambda: backbone.call(running, x, t, given), batch)
        form = form_of(model, running)
        merged, tables = parameters.count(running)["params"], parameters.tables(model)
        _KNOWN[key] = Count(parameters.count(model), merged, bill, form, tables)
    return _KNOWN[key]
