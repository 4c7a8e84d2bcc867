#!/usr/bin/env bash
# diffusers 0.42.1, DPMSolverMultistepScheduler with Karras' noise levels: of 50 steps the network is told 49 times.
#
# Stable Diffusion's networks know 1,000 whole timesteps. Levels that lie close together near the end are rounded to the same
# one, so that two steps from different levels ask the network about one and the same: once in 50 steps, five times in 100.
# No warning is given; with a few steps, or without `use_karras_sigmas`, it does not happen.
#
# Seen: of 10, 20, 50 and 100 steps 10, 20, 49 and 95 timesteps are distinct, and all of the levels.
# Exits with 0 where this is still so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.14.1 diffusers==0.42.1
cd "$place"
"$place/venv/bin/python" - <<'PYTHON'
import diffusers
from diffusers import DPMSolverMultistepScheduler

STABLE_DIFFUSION = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
print("diffusers", diffusers.__version__)
for karras, expected in ((True, {10: 10, 20: 20, 50: 49, 100: 95}), (False, {10: 10, 20: 20, 50: 50, 100: 100})):
    seen = {}
    for steps in expected:
        scheduler = DPMSolverMultistepScheduler(use_karras_sigmas=karras, **STABLE_DIFFUSION)
        scheduler.set_timesteps(steps)
        told, levels = scheduler.timesteps.tolist(), scheduler.sigmas[:-1].tolist()
        assert len(told) == len(set(levels)) == steps
        seen[steps] = len(set(told))
    print("Karras' levels:" if karras else "usual levels:", "distinct timesteps by the number of steps", seen)
    assert seen == expected, "this has changed"
PYTHON
