"""The records of a count, from its sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dimbench.counting.rules import RULES
from dimbench.counting.summed import Sums
from dimbench.presets import Preset
from dimbench.results import Record


def check_rule(rule: str, name: str, preset: Preset | None) -> None:
    """UsageError where the rule was derived for another family than that of the model."""
    RULES[rule].check(name, preset.family if preset else "")


def of_pass(found: Sums, preset: Preset | None, rule: str) -> Record:
    """What one pass costs by `rule`, beside what papers claim of it. UsageError where the rule is of another family."""
    check_rule(rule, found.model, preset)
    by, macs = RULES[rule], found.macs(rule)
    details: dict[str, Any] = {
        "rule": {"says": by.says, "source": by.source},
        "counted_on": None,
        "decided_by_values": preset.decided_by_values if preset else "",
        "uncounted": found.uncounted,
        "missing": found.missing,
        "dead_macs": found.dead_macs // found.batch,
        "claims": [
            {"prints": claim.gflops, "rule": claim.rule, "macs": found.macs(claim.rule)}
            # not with other settings
            for claim in (preset.claims_at(found.conditions) if preset and preset.name == found.model else ())
            if claim.gflops
        ],
    }
    conditions = {**found.conditions, "batch": found.batch, "rule": rule, "engine": "ours", "form": found.form}
    metrics = {**found.params, "params_inference": found.merged, "macs": macs, "flops": 2 * macs}
    return Record("flops", found.model, conditions, metrics, details=details)


def of_parameters(model: str, conditions: Mapping[str, Any], params: Mapping[str, int], merged: int) -> Record:
    """How many parameters it has, of each kind."""
    return Record("params", model, conditions, {**params, "params_inference": merged})
