"""What a backbone costs: parameters and the bill of one pass, counted on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from dimbench.backbone import Backbone, created, example, find, form_of
from dimbench.counting import parameters
from dimbench.counting.bill import trace
from dimbench.counting.lines import Bill
from dimbench.counting.rules import RULES
from dimbench.counting.summed import Sums
from dimbench.image_size import Resolution
from dimbench.meta import shapes_only


@dataclass(frozen=True)
class Count(Sums):
    """The sums with the bill of the network at inference."""

    bill: Bill

    def sums(self) -> Sums:
        """Without the bill."""
        return Sums(**{field.name: getattr(self, field.name) for field in fields(Sums)})


Fill = Callable[[nn.Module], object]
"""Puts weights into a network."""


def skeleton(backbone: Backbone, real: bool = False, fill: Fill | None = None) -> tuple[nn.Module, nn.Module]:
    """The network as it is trained and as it runs at inference, shapes only or, where `real`, with weights: its initial
    ones, or what `fill` puts there."""
    with nullcontext() if real else shapes_only():
        model = created(backbone) if real else backbone.build()
        if fill:
            fill(model)
        return model, backbone.running(model)


_KNOWN: dict[tuple[Any, ...], Count] = {}


def count(
    backbone: Backbone | str,
    resolution: Resolution | None = None,
    batch: int = 1,
    real: bool = False,
    fill: Fill | None = None,
) -> Count:
    """The count of a backbone, or of the preset of that name, for `batch` samples, on shapes or on real tensors, with
    weights as `skeleton` has them; made once per process for code and settings that stay the same."""
    if isinstance(backbone, str):
        backbone = find(backbone, resolution)
    # Under one name a preset can be edited, and a file of one's own imported again.
    decides = repr(backbone.preset and backbone.preset.config), getattr(backbone, "maker", None)
    key = (backbone.text, tuple(backbone.conditions.items()), backbone.state, batch, real, fill, decides)
    if key not in _KNOWN:
        model, running = skeleton(backbone, real, fill)
        with nullcontext() if real else shapes_only():
            x, t, given = example(backbone, batch, "cpu" if real else "meta")
        bill = trace(running, lambda: backbone.call(running, x, t, given), batch)
        _KNOWN[key] = Count(
            model=backbone.name,
            conditions=dict(backbone.conditions),
            batch=batch,
            params=parameters.count(model),
            merged=parameters.count(running)["params"],
            tables=parameters.tables(model),
            form=form_of(model, running),
            by_rule={rule.name: rule.macs(bill) // batch for rule in RULES.values()},
            by_operator=bill.by_operator,
            dead_macs=bill.dead_macs,
            uncounted=bill.uncounted,
            missing=bill.missing,
            bill=bill,
        )
    return _KNOWN[key]
