from __future__ import annotations

import pytest

from dimbench.papers import published
from dimbench.papers.published import PublishedFid


def found(model: str, fid: float) -> PublishedFid:
    return next(entry for entry in published.fids() if (entry.model, entry.fid) == (model, fid))


@pytest.mark.parametrize(
    ("model", "fid", "passes"),
    [
        ("dit-xl2", 9.62, 250),  # DDPM, no guidance
        ("dit-xl2", 2.27, 500),  # guided: two passes a step
        ("sit-xl2", 2.15, 500),  # Heun, 125 steps of two calls, guided
        ("dim-h2", 2.21, 100),  # DPM-Solver in 50 steps, guided
        ("dimsum-l2", 2.11, None),  # dopri5 chooses
        ("udit-b", 14.51, None),  # of 600K steps no file is published, and of its sampler nothing is said
    ],
)
def test_passes_per_image(model: str, fid: float, passes: int | None) -> None:
    assert found(model, fid).passes == passes


def test_like_conditions_are_400k_steps_without_guidance() -> None:
    assert found("dit-xl2", 19.47).like
    assert found("sit-xl2", 17.2).like
    assert not found("dit-xl2", 9.62).like
    assert not found("udit-b", 4.26).like


def test_only_a_family_speaks_of_itself() -> None:
    assert not [entry for entry in published.fids() if entry.fid == 20.05]  # DiT-XL/2, trained by the authors of U-DiT
    assert {entry.resolution for entry in published.fids(512)} == {512}
