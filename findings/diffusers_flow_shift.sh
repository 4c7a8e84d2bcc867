#!/usr/bin/env bash
# diffusers 0.42.1, FlowMatchEulerDiscreteScheduler: its shift acts again on what it has already shifted, or was given.
#
# A new scheduler holds the shifted timesteps of training, whose ends it keeps. set_timesteps lays its steps between these
# ends and shifts them once more, so that asking for as many steps as in training gives others: the lowest is shifted
# twice. Noise levels given by hand, which read like those to be used, are shifted as well: with the shift of 3 of Stable
# Diffusion 3 the levels 1, 0.75, 0.5, 0.25 become 1, 0.9, 0.75, 0.5. To run at given levels one has to give what the
# shift turns into them.
#
# Seen: the last of 1,000 timesteps is 2.994 in a new scheduler and 8.929 after set_timesteps(1000).
# Exits with 0 where this is still so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.14.1 diffusers==0.42.1
cd "$place"
"$place/venv/bin/python" - <<'PYTHON'
import diffusers
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

print("diffusers", diffusers.__version__)
scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
new = scheduler.timesteps.clone()
scheduler.set_timesteps(1000)
print("the last of 1,000 timesteps:", round(new[-1].item(), 3), "when new,", round(scheduler.timesteps[-1].item(), 3), "when set")
assert round(new[-1].item(), 3) == 2.994 and round(scheduler.timesteps[-1].item(), 3) == 8.929, "this has changed"

given = [1.0, 0.75, 0.5, 0.25]
scheduler.set_timesteps(sigmas=given)
print("noise levels given:", given, "used:", [round(level, 4) for level in scheduler.sigmas.tolist()])
assert torch.allclose(scheduler.sigmas, torch.tensor([1.0, 0.9, 0.75, 0.5, 0.0])), "this has changed"

unshifted = [level / (3 - 2 * level) for level in given]
scheduler.set_timesteps(sigmas=unshifted)
assert torch.allclose(scheduler.sigmas[:-1], torch.tensor(given)), "the remedy does not work"
PYTHON
