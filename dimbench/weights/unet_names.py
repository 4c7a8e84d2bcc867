"""Latent diffusion's U-Net as its authors name its weights and as diffusers' UNet2DConditionModel does, for networks
that are told a text alone, as Stable Diffusion 1.5 is.

The authors count blocks through all levels, diffusers within each.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from dimbench.errors import DimbenchError, plain

CLASS = "UNet2DConditionModel"
NETWORK = "model.diffusion_model."  # in a checkpoint of a whole latent diffusion model
_AVERAGED = "model_ema."

_ONCE = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}


def in_diffusers_names(content: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], list[str]]:
    """The network of an authors' checkpoint under diffusers' names, its averages where it has them, and a sentence for
    what was chosen; any other content as it is."""
    state = content.get("state_dict", content)
    names = [name for name in state if str(name).startswith(NETWORK)]
    if not names:
        return (to_diffusers(content), []) if "input_blocks.0.0.weight" in content else (content, [])
    averages = {name: _AVERAGED + name.removeprefix("model.").replace(".", "") for name in names}
    averaged = all(flat in state for flat in averages.values())
    network = {name.removeprefix(NETWORK): state[averages[name] if averaged else name] for name in names}
    said = [f"The averaged weights under '{_AVERAGED}' were taken."] if averaged else []
    return to_diffusers(network), said


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """DimbenchError for a weight that diffusers' network has no place for."""
    return {_theirs(name, _per_level(state)): tensor for name, tensor in state.items()}


def to_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_diffusers`."""
    blocks = len({name.split(".")[3] for name in state if name.startswith("down_blocks.0.resnets.")})
    return {_ours(name, blocks, state): tensor for name, tensor in state.items()}


def _per_level(names: Collection[str]) -> int:
    """Blocks of a level on the way down, without the one that halves the image."""
    halving = [int(name.split(".")[1]) for name in names if re.fullmatch(r"input_blocks\.\d{1,4}\.0\.op\.weight", name)]
    deepest = max((int(name.split(".")[1]) for name in names if re.match(r"input_blocks\.\d{1,4}\.", name)), default=0)
    return min(halving, default=deepest + 1) - 1


def _theirs(name: str, blocks: int) -> str:
    module, _, leaf = name.rpartition(".")
    if module in _ONCE:
        return f"{_ONCE[module]}.{leaf}"
    way, _, inside = name.partition(".")
    found = re.fullmatch(r"(\d{1,4})\.(?:(\d)\.)?(.+)", inside)
    if way == "middle_block" and found and found[1] in _MIDDLE:
        return f"mid_block.{_MIDDLE[found[1]]}.{_part(inside.partition('.')[2], found[1] != '1')}"
    if way in ("input_blocks", "output_blocks") and found and found[2]:
        index, place, part = int(found[1]), found[2], found[3]
        level, layer = divmod(index - (way == "input_blocks"), blocks + 1)
        home = f"{'down' if way == 'input_blocks' else 'up'}_blocks.{level}"
        if part.startswith("op."):
            return f"{home}.downsamplers.0.conv.{leaf}"
        if part.startswith("conv.") and place != "0":
            return f"{home}.upsamplers.0.conv.{leaf}"
        return f"{home}.{'resnets' if place == '0' else 'attentions'}.{layer}.{_part(part, place == '0')}"
    raise DimbenchError(
        f"diffusers' UNet2DConditionModel has no place for {plain(name)}; give a U-Net told a text alone"
    )


def _part(part: str, resnet: bool) -> str:
    """What lies in a block: attention has the same names in both."""
    module, _, leaf = part.rpartition(".")
    return f"{_RESNET.get(module, module)}.{leaf}" if resnet else part


def _ours(name: str, blocks: int, state: Collection[str]) -> str:
    module, _, leaf = name.rpartition(".")
    once = {theirs: own for own, theirs in _ONCE.items()}
    if module in once:
        return f"{once[module]}.{leaf}"
    found = re.fullmatch(r"(down|mid|up)_block(?:s\.(\d+))?\.(\w+)\.(\d+)\.(.+)", name)
    if found is None:
        raise DimbenchError(f"latent diffusion's U-Net has no place for {plain(name)}; give a U-Net told a text alone")
    way, level, kind, layer, part = found.groups()
    if kind == "resnets":
        parts = {theirs: own for own, theirs in _RESNET.items()}
        inside, _, leaf = part.rpartition(".")
        part = f"{parts.get(inside, inside)}.{leaf}"
    if way == "mid":
        place = next(own for own, theirs in _MIDDLE.items() if theirs == f"{kind}.{layer}")
        return f"middle_block.{place}.{part}"
    first = int(level) * (blocks + 1) + (way == "down")
    home = "input_blocks" if way == "down" else "output_blocks"
    if kind == "downsamplers":
        return f"{home}.{first + blocks}.0.op.{leaf}"
    if kind == "upsamplers":
        attended = any(each.startswith(f"up_blocks.{level}.attentions.") for each in state)
        return f"{home}.{first + blocks}.{2 if attended else 1}.conv.{leaf}"
    return f"{home}.{first + int(layer)}.{0 if kind == 'resnets' else 1}.{part}"
