"""How weights start."""

from __future__ import annotations

from torch import nn

SMALL = 0.02


def xavier(model: nn.Module) -> None:
    """Every Linear Xavier uniform with a zero bias."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def flat_xavier(conv: nn.Conv2d | nn.Conv3d) -> None:
    """A convolution that cuts patches, as the Linear of the flattened patch."""
    nn.init.xavier_uniform_(conv.weight.view(conv.out_channels, -1))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def small(*modules: nn.Module) -> None:
    """Weights of N(0, 0.02^2): class tables and the layers of a time."""
    for module in modules:
        nn.init.normal_(module.weight, std=SMALL)


def zero(*linears: nn.Linear) -> None:
    """Weights and biases of zero."""
    for linear in linears:
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
