"""Names of official checkpoints where they say more than our modules need."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def named(**modules: nn.Module) -> nn.Sequential:
    """The modules one after another, under these names in the state dict."""
    return nn.Sequential(OrderedDict(modules))
