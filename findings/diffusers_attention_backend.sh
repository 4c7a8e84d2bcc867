#!/usr/bin/env bash
# diffusers 0.42.1: set_attention_backend says nothing and does nothing on DiT, PixArt and SD3, and is not theirs alone.
#
# The method is offered by every model. These three run attention processors of an older kind that never ask for the
# backend. Told to use "_native_math" or "_native_efficient", they call scaled_dot_product_attention as before and no
# error or warning says so, while Flux, told the same, runs the kernel asked for. Besides, the choice is kept for the
# whole process: a Flux that was told nothing runs it too.
#
# Seen: which kernels of scaled_dot_product_attention run, by torch's profiler.
# Exits with 0 where this is still so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.14.1 diffusers==0.42.1 transformers==5.24.0 accelerate
cd "$place"
"$place/venv/bin/python" - <<'PYTHON'
import diffusers
import torch
from diffusers import DiTTransformer2DModel, FluxTransformer2DModel, PixArtTransformer2DModel, SD3Transformer2DModel
from torch.profiler import ProfilerActivity, profile


def dit():
    model = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, num_layers=1, sample_size=8, num_embeds_ada_norm=10
    )
    return model, {"hidden_states": torch.randn(1, 4, 8, 8), "timestep": torch.tensor([5]), "class_labels": torch.tensor([3])}


def pixart():
    model = PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=12, num_layers=1, sample_size=8, caption_channels=12, cross_attention_dim=24
    )
    return model, {
        "hidden_states": torch.randn(1, 4, 8, 8), "timestep": torch.tensor([5]),
        "encoder_hidden_states": torch.randn(1, 7, 12), "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }


def sd3():
    model = SD3Transformer2DModel(
        sample_size=8, num_layers=1, attention_head_dim=8, num_attention_heads=2, in_channels=4, out_channels=4,
        joint_attention_dim=12, caption_projection_dim=16, pooled_projection_dim=10, pos_embed_max_size=12,
    )
    return model, {
        "hidden_states": torch.randn(1, 4, 8, 8), "timestep": torch.tensor([5]),
        "encoder_hidden_states": torch.randn(1, 7, 12), "pooled_projections": torch.randn(1, 10),
    }


def flux():
    model = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=12, pooled_projection_dim=10, axes_dims_rope=(4, 4, 8),
    )
    return model, {
        "hidden_states": torch.randn(1, 16, 16), "timestep": torch.tensor([0.5]), "img_ids": torch.zeros(16, 3),
        "txt_ids": torch.zeros(7, 3), "encoder_hidden_states": torch.randn(1, 7, 12), "pooled_projections": torch.randn(1, 10),
    }


def kernels(model, inputs):
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU]) as seen:
        model(**inputs)
    return {event.key for event in seen.key_averages() if event.key.startswith("aten::_scaled_dot_product")}


print("diffusers", diffusers.__version__)
made = {name: make() for name, make in (("DiT", dit), ("PixArt", pixart), ("SD3", sd3), ("Flux", flux))}
untold = flux()
before = {name: kernels(*pair) for name, pair in made.items()}
bystander = kernels(*untold)
for name, (model, inputs) in made.items():
    model.eval().set_attention_backend("_native_math")
    after = kernels(model, inputs)
    print(f"{name}: {sorted(before[name])} before, {sorted(after)} after set_attention_backend('_native_math')")
    assert (after == before[name]) == (name != "Flux"), f"{name} has changed"
after = kernels(*untold)
print(f"another Flux, told nothing: {sorted(bystander)} before, {sorted(after)} after")
assert after != bystander, "the choice is no longer one of the whole process"
PYTHON
