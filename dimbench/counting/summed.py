"""What tables, audits and plots show of a count: the sums of its bill. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Which parameters a source may mean.
TRAINED = "trained"
MERGED = "merged"
ALL = "all"


@dataclass(frozen=True)
class Sums:
    """Of the network `model` for `batch` samples under `conditions`: `params` as dimbench.counting.parameters.count
    gives them for the trained network, `merged` those at inference, whose `form` says which network that is, `tables`
    the numbers in buffers; `by_rule` multiply-adds per image by the rules' names; `by_operator`, `dead_macs`,
    `uncounted` and `missing` as the bill has them."""

    model: str
    conditions: Mapping[str, Any]
    batch: int
    params: Mapping[str, int]
    merged: int
    tables: int
    form: str
    by_rule: Mapping[str, int]
    by_operator: Mapping[str, int]
    dead_macs: int
    uncounted: Mapping[str, tuple[int, int]]
    missing: Mapping[str, tuple[int, int]]

    def macs(self, rule: str) -> int:
        """Multiply-adds per image by the rule of that name."""
        return self.by_rule[rule]

    def params_by(self, rule: str) -> int:
        """Parameters that are trained, that are left once branches are merged, or all with the fixed tables."""
        fixed = self.params["params_fixed"] + self.tables
        return {TRAINED: self.params["params"], MERGED: self.merged, ALL: self.params["params"] + fixed}[rule]
