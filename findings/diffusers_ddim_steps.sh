#!/usr/bin/env bash
# diffusers 0.42.1, DDIMScheduler: with 501 steps it begins half way, at timestep 500 of 1,000.
#
# Its default spacing takes every (1000 // steps)-th timestep from 0 on. From 501 to 999 steps that is every single one, so that
# as many are taken from the bottom and the noise that goes in is taken as half denoised already; 334 steps begin at 666. 500
# and 1,000 begin at 998 and 999. No warning is given; images come out, and are spoilt.
#
# Seen: the first timestep for 333, 334, 500, 501, 600 and 1,000 steps is 996, 666, 998, 500, 599 and 999.
# Exits with 0 where this is still so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.14.1 diffusers==0.42.1
cd "$place"
"$place/venv/bin/python" - <<'PYTHON'
import warnings

import diffusers
from diffusers import DDIMScheduler

seen = {}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for steps in (333, 334, 500, 501, 600, 1000):
        scheduler = DDIMScheduler(num_train_timesteps=1000)
        scheduler.set_timesteps(steps)
        assert len(scheduler.timesteps) == steps
        seen[steps] = int(scheduler.timesteps[0])
print("diffusers", diffusers.__version__)
print("first timestep by the number of steps:", seen)
assert seen == {333: 996, 334: 666, 500: 998, 501: 500, 600: 599, 1000: 999}, "this has changed"
assert not [warning for warning in said if "timestep" in str(warning.message)], "it warns now"
PYTHON
