"""What the encoders of its text cost a network of diffusers: a line of their own, once per picture or clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import nn

from dimbench import names
from dimbench.counting.bill import trace
from dimbench.counting.rules import RULES
from dimbench.diffusers_networks.loading import quietly
from dimbench.errors import DimbenchError
from dimbench.meta import shapes_only
from dimbench.preset_files import folder, load
from dimbench.presets import Preset


@dataclass(frozen=True)
class TextEncoder:
    """An encoder as presets/shared/text_encoders.toml describes it: a class of transformers and its settings."""

    name: str
    class_name: str
    source: str
    config: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """The encoder in eval mode, on torch's default device. DimbenchError where transformers is not installed."""
        try:
            with quietly():
                import transformers

                found = getattr(transformers, self.class_name)
                return found(found.config_class(**self.config)).eval()
        except ModuleNotFoundError:
            raise DimbenchError(
                "text encoders are networks of transformers, which is not installed; run pip install 'dimbench[text]'"
            ) from None


@dataclass(frozen=True)
class EncoderCost:
    """`macs` of one text of `tokens`, under the rule macs."""

    encoder: str
    tokens: int
    params: int
    macs: int


def text_encoders(preset: Preset) -> list[EncoderCost]:
    """What each text encoder of the preset costs for one text; none for a network that is told no text. DimbenchError
    where transformers is not installed."""
    return [_cost(encoder(name), tokens) for name, tokens in preset.text_encoders.items()]


def encoder(name: str) -> TextEncoder:
    """The text encoder that presets call `name`."""
    return names.find(name, _all(), "text encoder")


@cache
def _all() -> dict[str, TextEncoder]:
    listed = load(folder() / "shared" / "text_encoders.toml")
    return {name: TextEncoder(name, **entry) for name, entry in listed.items()}


def _cost(chosen: TextEncoder, tokens: int) -> EncoderCost:
    with shapes_only():
        model = chosen.build()
        ids = torch.zeros(1, tokens, dtype=torch.long)
    bill = trace(model, {"input_ids": ids}, 1)
    return EncoderCost(chosen.name, tokens, sum(p.numel() for p in model.parameters()), RULES["macs"].macs(bill))
