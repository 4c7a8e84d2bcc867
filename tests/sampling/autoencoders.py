"""Small autoencoders of the published layouts, and their weights as the old files name them."""

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
        usual = {
            "block_out_channels": (32, 32, 64, 64)[-levels:],
            "down_block_types": ("DownEncoderBlock2D",) * levels,
            "up_block_types": ("UpDecoderBlock2D",) * levels,
            "layers_per_block": 1,
            "latent_channels": 4,
        }
        return AutoencoderKL(**{**usual, **settings}).eval()


def small_va(seed: int = 0) -> Any:
    """Of VA-VAE's layout: five levels, the last with attention."""
    down, up = ["DownEncoderBlock2D"] * 4, ["UpDecoderBlock2D"] * 4
    return small(
        seed,
        block_out_channels=(32,) * 5,
        down_block_types=(*down, "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", *up),
        latent_channels=32,
    )


def small_vq(seed: int = 0) -> Any:
    """diffusers' VQModel of LDM-4's layout."""
    from diffusers import VQModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VQModel(
            block_out_channels=(32, 32, 64),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            latent_channels=3,
            num_vq_embeddings=16,
        ).eval()


def small_rae(seed: int = 0) -> Any:
    """diffusers' AutoencoderRAE for pictures of 32 pixels, with figures to normalise by."""
    from diffusers import AutoencoderRAE

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoencoderRAE(
            encoder_hidden_size=64,
            encoder_num_hidden_layers=1,
            encoder_input_size=28,
            decoder_hidden_size=32,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=2,
            decoder_intermediate_size=32,
            latents_mean=torch.randn(64, 2, 2),
            latents_std=1 + torch.rand(64, 2, 2),
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
    name = re.sub(r"up_blocks\.(\d+)\.attentions", lambda m: f"up.{levels - 1 - int(m[1])}.attn", name)
    name = re.sub(r"down_blocks\.(\d+)\.attentions", r"down.\1.attn", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("mid_block.attentions.0.", "mid.attn_1.")
    for ours, theirs in (("group_norm", "norm"), ("to_out.0", "proj_out"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v")):
        name = re.sub(rf"(\.attn(_1|\.\d+))\.{re.escape(ours)}\.", rf"\1.{theirs}.", name)
    return name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def _old_shape(name: str, tensor: Tensor) -> Tensor:
    linear = "attentions" in name and name.endswith("weight") and tensor.ndim == 2
    return tensor[:, :, None, None] if linear else tensor
