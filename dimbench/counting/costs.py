"""What a registered network costs: parameters and the bill of one pass, counted on the meta device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from torch import nn

from dimbench import backbone, presets
from dimbench.counting import parameters as params
from dimbench.counting.bill import Bill, trace
from dimbench.counting.meta import shapes_only
from dimbench.counting.rules import RULES
from dimbench.presets import Preset

# Which parameters a source may mean.
TRAINED = "trained"
MERGED = "merged"
ALL = "all"


@dataclass(frozen=True)
class Count:
    """`params` as dimbench.counting.parameters.count gives them for the trained network, `merged` those at inference;
    `bill` of the network at inference, whose `form` the registry names."""

    params: dict[str, int]
    merged: int
    bill: Bill
    form: str

    def macs(self, rule: str) -> int:
        """Multiply-adds per image by the rule of that name."""
        return RULES[rule].macs(self.bill) // self.bill.batch

    def params_by(self, rule: str) -> int:
        """Parameters that are trained, that are left once branches are merged, or all with the fixed tables."""
        fixed = self.params["params_fixed"]
        return {TRAINED: self.params["params"], MERGED: self.merged, ALL: self.params["params"] + fixed}[rule]


def networks(preset: Preset, resolution: int) -> tuple[nn.Module, nn.Module]:
    """The network as it is trained and as it runs at inference, shapes only."""
    with shapes_only():
        model = backbone.build(preset, resolution)
        return model, backbone.for_inference(preset, model)


@cache
def count(name: str, resolution: int, batch: int = 1) -> Count:
    """The count of the preset `name` for `batch` images of `resolution` pixels per side; made once per process."""
    preset = presets.find(name)
    model, running = networks(preset, resolution)
    bill = trace(running, backbone.example_inputs(preset, model, batch, "meta"), batch)
    form = backbone.form_of(model, running)
    return Count(params.count(model), params.count(running)["params"], bill, form)
