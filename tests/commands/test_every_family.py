"""One sample of a small network of every family, as a user asks for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dimbench import presets
from dimbench.backbone import find
from dimbench.sampling.request import draws_clips, draws_pictures
from tests.console import dimbench

NARROW = {"hidden_size": 48, "depth": 1, "num_heads": 2}
UNET = {"model_channels": 32, "channel_mult": [1, 2], "num_res_blocks": 1, "attention_resolutions": [2]}
HEADS = {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 1}

# Of each family one variant, the size it is drawn at (0: its own) and what makes it small.
SMALL: dict[str, tuple[str, int | str, dict[str, Any]]] = {
    "adm": ("adm-64", 8, {**UNET, "num_head_channels": 32}),
    "adm, upsampler": ("adm-up-256", 8, {**UNET, "num_heads": 2}),
    "ddt": ("ddt-b2", 32, {"hidden_size": 32, "num_groups": 2, "num_blocks": 2, "num_encoder_blocks": 1}),
    "dico": ("dico-s", 32, {"hidden_size": 16, "depth": [1, 1, 1, 1, 1]}),
    "dim": ("dim-digits", 0, {}),
    "dimsum": ("dimsum-digits", 0, {}),
    "dit": ("dit-digits", 0, {}),
    "dit3d": ("dit3d-s4", 8, NARROW),
    "dit_dh": ("dit-dh-s", 32, {"in_channels": 8, "hidden_size": [32, 64], "depth": [1, 1], "num_heads": [2, 2]}),
    "ditmoe": ("ditmoe-s2-8e2a", 32, NARROW),
    "dydit": ("dydit-s2", 32, {**NARROW, "hidden_size": 64, "num_heads": 4}),
    "fit": ("fitv2-xl2", "32x48", {**NARROW, "adaln_lora_dim": 8}),
    "fit, v1": ("fitv1-xl2", 32, NARROW),
    "jit": ("jit-digits", 0, {}),
    "ldm": ("ldm-4", 32, {**UNET, "context_dim": 16}),
    "lightningdit": ("lightningdit-b1", 32, NARROW),
    "meanflow": ("meanflow-b4", 32, NARROW),
    "mit": ("imf-b2", 32, {"hidden_size": 32, "depth": 2, "num_heads": 2, "aux_head_depth": 1}),
    "mit, pixels": ("pmf-b16", 32, {"hidden_size": 32, "depth": 2, "num_heads": 2, "aux_head_depth": 1}),
    "mmdit": ("mmdit-d12", 32, {"depth": 2, "context_dim": 16, "context_tokens": 3, "adm_in_channels": 16}),
    "pixart": ("pixart-xl2", 32, {**NARROW, "caption_channels": 16, "model_max_length": 5}),
    "policy": ("policy-pusht", 0, {"n_layer": 1, "n_emb": 16}),
    "reg": ("reg-b2", 32, {**NARROW, "cls_token_dim": 8}),
    "sit": ("sit-digits", 0, {}),
    "skip_dit": ("skip-dit-s2", 32, {**NARROW, "depth": 2}),
    "udit": ("udit-digits", 0, {}),
    "uvit": ("uvit-digits", 0, {}),
    "zigma": ("zigma-s2", 32, {"embed_dim": 32, "depth": 2}),
    "of diffusers, classes": ("dit-xl2-diffusers", 64, {**HEADS, "sample_size": 8}),
    "of diffusers, text": ("pixart-alpha-1024", 64, {**HEADS, "cross_attention_dim": 24, "caption_channels": 12}),
    "of diffusers, clips": ("latte-1", 64, {**HEADS, "cross_attention_dim": 24, "caption_channels": 12}),
}


def words(name: str) -> list[str]:
    """The model and its size on the command line."""
    model, resolution, settings = SMALL[name]
    given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [model, *(["--resolution", str(resolution)] if resolution else []), *given]


def test_no_family_is_left_out() -> None:
    ours = {preset.backbone for preset in presets.all_presets().values() if preset.is_native}
    assert ours == {presets.find(model).backbone for model, _, _ in SMALL.values() if presets.find(model).is_native}


@pytest.mark.parametrize("name", SMALL)
def test_a_sample_of_a_small_network_is_drawn(name: str, tmp_path: Path) -> None:
    model, resolution, settings = SMALL[name]
    found = find(model, resolution or None, settings)
    labels = ["--labels", "random"] if found.classes else []
    drawing = ["--random-weights", "--steps", 2, "--num-images", 1, *labels]
    ran = dimbench("sample", *words(name), *drawing, "--to", tmp_path / "drawn", "--json")
    assert ran.code == 0, ran.stderr
    (record,) = json.loads(ran.stdout)
    assert record["metrics"]["network_calls"] >= 1
    with np.load(tmp_path / "drawn" / "samples.npz") as archive:
        drawn = archive["arr_0"]
    if draws_pictures(found) or draws_clips(found):
        height, width = (side * found.stride for side in found.state[-2:])
        assert (drawn.shape, drawn.dtype) == ((1, *found.state[1:-2], height, width, 3), np.uint8)
    else:
        assert (drawn.shape, drawn.dtype) == ((1, *found.state), np.float32)
        assert np.isfinite(drawn).all()
