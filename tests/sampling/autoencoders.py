"""A small autoencoder of Stable Diffusion's layout, and its weights as the old files name them."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor


def small(seed: int = 0, levels: int = 4, **settings: Any) -> Any:
    """diffusers' AutoencoderKL of `levels` levels, with weights of its own for each seed."""
    from diffusers import AutoencoderKL

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoencoderKL(
            block_out_channels=(32, 32, 64, 64)[-levels:],
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            layers_per_block=1,
            **{"latent_channels": 4, **settings},
        ).eval()


def old_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of diffusers as CompVis' code would have saved the same weights."""
    levels = len({name.split(".")[2] for name in state if name.startswith("decoder.up_blocks.")})
    return {_old_name(name, levels): _old_shape(name, tensor) for name, tensor in state.items()}


def _old_name(name: str, levels: int) -> str:
    name = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{levels - 1 - int(m[1])}.block", name)
    name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name)
    name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    for ours, theirs in (("group_norm", "norm"), ("to_out.0", "proj_out"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v")):
        name = name.replace(f"mid_block.attentions.0.{ours}.", f"mid.attn_1.{theirs}.")
    return name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def _old_shape(name: str, tensor: Tensor) -> Tensor:
    linear = "attentions" in name and name.endswith("weight") and tensor.ndim == 2
    return tensor[:, :, None, None] if linear else tensor
