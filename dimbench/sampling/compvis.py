"""Autoencoders as latent diffusion's first code names their weights, and as diffusers does.

One 1 x 1 convolution there is a linear layer here, and the decoder's levels are counted from the other end.
CompVis/latent-diffusion, ldm/modules/diffusionmodules/model.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dimbench.errors import DimbenchError

SHARED_NAMES = tuple(
    f"{layer}.{kind}"
    for layer in ("encoder.conv_in", "encoder.conv_out", "decoder.conv_in", "decoder.conv_out", "quant_conv")
    for kind in ("weight", "bias")
)
"""What both call alike, by which an autoencoder is found in a checkpoint."""

_PREFIX = "first_stage_model."  # in a checkpoint of a whole latent diffusion model
_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.")
_CODEBOOK = "quantize.embedding.weight"
_NAMES = (
    (r"\.down\.(\d+)\.block\.(\d+)\.", r".down_blocks.\1.resnets.\2."),
    (r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.up\.(\d+)\.block\.(\d+)\.", r".up_blocks.\1.resnets.\2."),
    (r"\.up\.(\d+)\.upsample\.", r".up_blocks.\1.upsamplers.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"\.(down|up)\.(\d+)\.attn\.(\d+)\.", r".\1_blocks.\2.attentions.\3."),
    (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
    (r"(attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
)

# Names of attention in diffusers' own older files.
_OLDER = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


def in_diffusers_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The autoencoder in a checkpoint, of either layout, under diffusers' names of today."""
    if not any(name.startswith(("decoder.up_blocks.", "encoder.down_blocks.")) for name in state):
        return converted(state)
    found = {}
    for name, tensor in state.items():
        for old, new in _OLDER.items():
            name = name.replace(old, new) if ".attentions." in name else name
        flat = ".attentions." in name and tensor.dim() == 4
        found[name] = tensor[:, :, 0, 0] if flat else tensor
    return found


def converted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The autoencoder in a checkpoint, under diffusers' names; what else the file holds is left out.

    Raises DimbenchError where no autoencoder is in it.
    """
    bare = {name.removeprefix(_PREFIX): tensor for name, tensor in state.items() if name.startswith(_PREFIX)} or state
    levels = len({name.split(".")[2] for name in bare if name.startswith("decoder.up.")})
    if not levels:
        raise DimbenchError(
            f"it has no weights named {_PREFIX}decoder.up or decoder.up (its first is {next(iter(state), 'none')})"
        )
    return {_renamed(name, levels): _shaped(name, bare[name]) for name in bare if name.startswith(_PARTS)}


def _renamed(name: str, levels: int) -> str:
    name = re.sub(r"^decoder\.up\.(\d+)", lambda found: f"decoder.up.{levels - 1 - int(found[1])}", name)
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _shaped(name: str, tensor: Tensor) -> Tensor:
    return tensor[:, :, 0, 0] if re.search(r"\.attn(_1|\.\d+)\.(q|k|v|proj_out)\.weight$", name) else tensor


def config_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The class of diffusers and the settings that give the shapes of a converted state dict.

    Raises DimbenchError where a weight that tells them is missing.
    """
    try:
        levels = range(1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.down_blocks.")))
        first = [name for name in state if re.match(r"encoder\.down_blocks\.0\.resnets\.\d+\.conv1\.weight", name)]
        found = {
            "_class_name": "AutoencoderKL",
            "block_out_channels": tuple(
                len(state[f"encoder.down_blocks.{level}.resnets.0.conv1.weight"]) for level in levels
            ),
            "down_block_types": tuple(_block(state, f"encoder.down_blocks.{level}.", "Down") for level in levels),
            "up_block_types": tuple(_block(state, f"decoder.up_blocks.{level}.", "Up") for level in levels),
            "layers_per_block": len(first),
            "latent_channels": state["decoder.conv_in.weight"].shape[1],
        }
        if _CODEBOOK in state:
            codes, width = state[_CODEBOOK].shape
            return {**found, "_class_name": "VQModel", "num_vq_embeddings": codes, "vq_embed_dim": width}
        quant_conv = "quant_conv.weight" in state
        return {**found, "use_quant_conv": quant_conv, "use_post_quant_conv": quant_conv}
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DimbenchError(f"a part of the autoencoder is missing from it ({error})") from None


def _block(state: Mapping[str, Tensor], place: str, way: str) -> str:
    """diffusers' class of a level, with attention or without."""
    coder = "Encoder" if way == "Down" else "Decoder"
    return f"{'Attn' if any(name.startswith(f'{place}attentions.') for name in state) else ''}{way}{coder}Block2D"
