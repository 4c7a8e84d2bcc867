#!/usr/bin/env bash
# diffusers 0.42.1: in bfloat16 a Flux is told its time, and its guidance, in multiples of 4 of 1,000.
#
# The network casts both to its own type before it embeds them, and bfloat16 has 8 bits: from 512 to 1,024 it knows every
# fourth number. The scheduler's times are float32 and the sampler steps by those, so what the network believes to be the
# noise and what is there differ by up to 3.8 of 1,000, for two roundings come together; guidance 3.5 arrives as 3,504.
# With few steps the times stay distinct. Of 100 steps at 1,024 px two share a time with another, of 250 steps 70 do. In float32 all are distinct. Other
# networks that came from it cast as it does.
#
# Seen: of 28, 50, 100 and 250 steps 28, 50, 98 and 180 times arrive.
# Exits with 0 where this is still so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.14.1 diffusers==0.42.1
cd "$place"
"$place/venv/bin/python" - <<'PYTHON'
import diffusers
import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

diffusers.utils.logging.set_verbosity_error()


def times(steps):
    """Of FLUX.1's pipeline at 1,024 px."""
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0, base_shift=0.5, max_shift=1.15)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=1.15)
    return scheduler.timesteps


def told(dtype, steps):
    """What is embedded of time and guidance."""
    model = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=12, pooled_projection_dim=10, axes_dims_rope=(4, 4, 8), guidance_embeds=True,
    ).to(dtype)
    seen = []
    model.time_text_embed.time_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0].item()))
    with torch.no_grad():
        for time in times(steps):
            model(
                hidden_states=torch.zeros(1, 4, 16, dtype=dtype), encoder_hidden_states=torch.zeros(1, 7, 12, dtype=dtype),
                pooled_projections=torch.zeros(1, 10, dtype=dtype), timestep=time[None] / 1000,
                guidance=torch.tensor([3.5]), img_ids=torch.zeros(4, 3), txt_ids=torch.zeros(7, 3),
            )
    return seen[::2], seen[1::2]


print("diffusers", diffusers.__version__)
for steps, expected in {28: 28, 50: 50, 100: 98, 250: 180}.items():
    exact, _ = told(torch.float32, steps)
    rounded, guidance = told(torch.bfloat16, steps)
    off = max(abs(a - b) for a, b in zip(exact, rounded, strict=True))
    print(f"{steps} steps: {len(set(exact))} times in float32, {len(set(rounded))} in bfloat16, up to {off:.2f} off")
    assert len(set(exact)) == steps and len(set(rounded)) == expected, "this has changed"
    assert set(guidance) == {3504.0}, "the guidance arrives otherwise"
print("the first in float32", [round(t, 1) for t in exact[:6]], "in bfloat16", rounded[:6])
PYTHON
