"""Stable Diffusion's U-Net under its authors' names is the network that diffusers builds, in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dimbench import backbone
from dimbench.errors import DimbenchError
from dimbench.models import ldm
from dimbench.weights import unet_names
from dimbench.weights.checkpoints import fill
from dimbench.weights.convert import to_diffusers, to_official
from tests import golden_data as golden

EXACT = 2e-5  # float32, in another order of operations

# Three levels, the deepest without attention, as that of Stable Diffusion 1.5, and two blocks in each.
AUTHORS: dict[str, Any] = {
    "input_size": 8, "in_channels": 4, "out_channels": 4, "model_channels": 32, "channel_mult": (1, 2, 2),
    "num_res_blocks": 2, "attention_resolutions": (1, 2), "num_heads": 2, "context_dim": 24,
}  # fmt: skip
DIFFUSERS: dict[str, Any] = {
    "block_out_channels": (32, 64, 64), "layers_per_block": 2, "attention_head_dim": 2, "cross_attention_dim": 24,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip


def authors() -> ldm.LDM:
    return golden.fill(ldm.build(ldm.Config(**AUTHORS)).eval())


def file_of(state: dict[str, Tensor]) -> dict[str, Any]:
    """As their checkpoints hold it, with what is no part of the network."""
    named = {unet_names.NETWORK + name: tensor for name, tensor in state.items()}
    return {"state_dict": {**named, "first_stage_model.quant_conv.bias": torch.ones(1), "betas": torch.ones(1)}}


def found() -> backbone.Backbone:
    return backbone.find("sd-v1-5", 64, DIFFUSERS)


@pytest.mark.parametrize("whole", [True, False])
def test_diffusers_computes_the_same(whole: bool) -> None:
    ours, theirs = authors(), found().build()
    assert fill(theirs, file_of(ours.state_dict()) if whole else ours.state_dict()) == []
    x, t, context = golden.latents(2, 4, 8, 8), torch.tensor([3, 700]), golden.latents(2, 5, 24)
    with torch.no_grad():
        expected = ours(x, t, context)
        got = theirs(x, t, context).sample
    assert (got - expected).abs().max() < EXACT * expected.abs().max()


def test_averages_are_taken_first_and_said() -> None:
    state, model = authors().state_dict(), found().build()
    content = file_of({name: 0 * tensor for name, tensor in state.items()})
    flat = {"model_ema.diffusion_model" + name.replace(".", ""): tensor for name, tensor in state.items()}
    (said,) = fill(model, {"state_dict": {**content["state_dict"], **flat}})
    assert "'model_ema.'" in said
    assert torch.equal(model.conv_in.weight, state["input_blocks.0.0.weight"])


def test_both_ways_are_exact(tmp_path: Path) -> None:
    state = authors().state_dict()
    torch.save(file_of(state), tmp_path / "theirs.ckpt")
    to_diffusers(found(), tmp_path / "theirs.ckpt", tmp_path / "folder")
    assert backbone.find(str(tmp_path / "folder")).build().state_dict().keys() == found().build().state_dict().keys()
    to_official(found(), tmp_path / "folder", tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == {unet_names.NETWORK + name for name in state}
    assert all(torch.equal(back[unet_names.NETWORK + name], tensor) for name, tensor in state.items())


def test_what_has_no_place_is_named() -> None:
    with pytest.raises(DimbenchError, match=r"no place for label_emb.0.0.weight; give a U-Net told a text alone"):
        unet_names.to_diffusers({**authors().state_dict(), "label_emb.0.0.weight": torch.ones(1)})
