"""DiT's weights as its authors name them and as diffusers' DiTTransformer2DModel does.

diffusers keeps query, key and value apart, has a copy of both embedders in each block, and makes its position table
when the network is built.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from dimbench.errors import DimbenchError

POSITIONS = "pos_embed"  # the authors' table, which diffusers does not save

_ONCE = {
    "x_embedder.proj": "pos_embed.proj",
    "final_layer.adaLN_modulation.1": "proj_out_1",
    "final_layer.linear": "proj_out_2",
}
_COPIED = {
    "t_embedder.mlp.0": "norm1.emb.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "norm1.emb.timestep_embedder.linear_2",
    "y_embedder.embedding_table": "norm1.emb.class_embedder.embedding_table",
}
_PER_BLOCK = {
    "adaLN_modulation.1": ("norm1.linear",),
    "attn.qkv": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "attn.proj": ("attn1.to_out.0",),
    "mlp.fc1": ("ff.net.0.proj",),
    "mlp.fc2": ("ff.net.2",),
}


def _names(depth: int) -> dict[str, tuple[tuple[str, ...], ...]]:
    """The authors' name -> the copies in diffusers' names, each as the parts it is cut into along its rows."""
    blocks = range(depth)
    found: dict[str, tuple[tuple[str, ...], ...]] = {own: ((theirs,),) for own, theirs in _ONCE.items()}
    found |= {own: tuple((f"transformer_blocks.{k}.{theirs}",) for k in blocks) for own, theirs in _COPIED.items()}
    for k in blocks:
        for own, parts in _PER_BLOCK.items():
            found[f"blocks.{k}.{own}"] = (tuple(f"transformer_blocks.{k}.{part}" for part in parts),)
    return {
        f"{own}.{kind}": tuple(tuple(f"{part}.{kind}" for part in parts) for parts in copies)
        for own, copies in found.items()
        for kind in ("weight", "bias")
        if own != "y_embedder.embedding_table" or kind == "weight"
    }


def _depth(names: Collection[str], blocks: str) -> int:
    found = [re.match(rf"{blocks}\.(\d{{1,4}})\.", name) for name in names]
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def of_diffusers(names: Collection[str]) -> set[str]:
    """What diffusers calls the tensors of a DiT with these names; empty for another network."""
    table = _names(_depth(names, "blocks"))
    if not set(_ONCE) <= {name.rpartition(".")[0] for name in names}:
        return set()
    return {part for own, copies in table.items() if own in names for parts in copies for part in parts}


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a DiT in diffusers' names."""
    found: dict[str, Tensor] = {}
    for own, copies in _names(_depth(state, "blocks")).items():
        for parts in copies:
            pieces = state[own].chunk(len(parts))
            found.update((part, piece.clone()) for part, piece in zip(parts, pieces, strict=True))
    return found


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' state dict but for its position table; what diffusers' DiT does not have stays as it is.

    DimbenchError where the blocks' embedders are not copies of one another, which the authors' network cannot hold.
    """
    found: dict[str, Tensor] = {}
    used: set[str] = set()
    for own, copies in _names(_depth(state, "transformer_blocks")).items():
        here = [parts for parts in copies if all(part in state for part in parts)]
        if not here:
            continue
        first = torch.cat([state[part] for part in here[0]])
        if odd := next((parts[0] for parts in here[1:] if not torch.equal(state[parts[0]], state[here[0][0]])), None):
            raise DimbenchError(f"{odd} is not the copy of {here[0][0]} that it is in a DiT; take another checkpoint")
        found[own] = first
        used |= {part for parts in here for part in parts}
    return found | {name: tensor for name, tensor in state.items() if name not in used}


def config(settings: Mapping[str, int]) -> dict[str, object]:
    """The config.json of diffusers for a DiT with the `settings` of models/dit.py's Config."""
    channels = settings["in_channels"]
    return {
        "_class_name": "DiTTransformer2DModel",
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "attention_head_dim": settings["hidden_size"] // settings["num_heads"],
        "in_channels": channels,
        "norm_elementwise_affine": False,
        "norm_eps": 1e-6,
        "norm_type": "ada_norm_zero",
        "num_attention_heads": settings["num_heads"],
        "num_embeds_ada_norm": settings["num_classes"],
        "num_layers": settings["depth"],
        "out_channels": 2 * channels if settings["learn_sigma"] else channels,
        "patch_size": settings["patch_size"],
        "sample_size": settings["input_size"],
    }
