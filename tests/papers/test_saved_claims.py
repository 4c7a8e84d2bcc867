"""What methods are printed to save, beside what their runs execute and how long they took."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dimbench.papers import said, saved_claims
from dimbench.papers.saved_claims import ClaimedRun, SavedClaim
from tests.papers.made_up import bench

RUN = ClaimedRun("dit-s2", 256, 9, 1.5, None, ("fora:every=3",))
CLAIM = SavedClaim("FORA", RUN, "", "", plain="dit-s2")


def test_what_a_method_saves_is_what_its_run_executes() -> None:
    assert 1 / 3 < saved_claims.executed(CLAIM) < 0.36
    assert CLAIM.setting == "9 steps, cfg 1.5, fora:every=3"


@pytest.mark.parametrize(
    ("paper", "share"),
    [
        ("FORA", 84 / 250),
        ("TaylorSeer", 13 / 50),
        ("PTQ4DiT*", 1),
        ("Skip-DiT*", (1 + 8 / 28) / 2),
    ],
)
def test_a_published_setting_executes_what_its_formula_says(paper: str, share: float) -> None:
    claim = said.savings(paper)[0]
    assert saved_claims.executed(claim) == pytest.approx(share, abs=0.01)


def test_a_saving_is_measured_where_both_ran_under_equal_conditions() -> None:
    def record(seconds: float, **conditions: object) -> dict[str, object]:
        found = bench("dit-s2", seconds)
        how = {"mode": "sample", "resolution": 256, "steps": 9, "guided": True, **conditions}
        return {**found, "conditions": {**found["conditions"], **how}}

    fast, slow = record(2.0, methods=["fora:every=3"]), record(5.0)
    assert [times for times, _, _ in saved_claims.measured(CLAIM, [fast, slow])] == [2.5]
    for other in (record(5.0, steps=8), record(5.0, batch=3), record(5.0, guided=False)):
        assert not saved_claims.measured(CLAIM, [fast, other])
    every_two = replace(CLAIM, run=replace(RUN, methods=("fora:every=2",)))
    assert not saved_claims.measured(every_two, [fast, slow])


def test_they_are_asked_for_by_method_and_by_network() -> None:
    assert {claim.run.model for claim in said.savings("dydit-*")} == {"dydit-xl2-0.5", "dydit-xl2-0.7"}
    assert len(said.savings("dit-xl2")) > len(said.savings("TaylorSeer")) == 1


def test_claims_are_told_apart_by_their_names_alone() -> None:
    """A narrow screen shows no setting beside them."""
    named = [claim.paper for claim in saved_claims.CLAIMS]
    assert len(set(named)) == len(named)
