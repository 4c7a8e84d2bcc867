"""Linear layers in float32 on a CPU by oneDNN: it uses AVX-512 on AMD's processors, which the MKL behind torch's own
product takes for generic ones, in half the time, and adds the bias while it multiplies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

FEWEST = 2**20  # multiply-adds; calls of fewer cost more than they save
PLAIN = {Tensor, nn.Parameter}
AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b (..., M) of x (..., D), weight (M, D) and bias (M,), as torch.nn.functional.linear gives it; by oneDNN
    where it has to give no gradient and is worth it. It sums all D products one after the other."""
    if _serves(x, weight):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return functional.linear(x, weight, bias)


def _serves(x: Tensor, weight: Tensor) -> bool:
    return (
        AVAILABLE
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and type(x) in PLAIN  # not quantised, and nobody's own
        and type(weight) in PLAIN
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and x.numel() * len(weight) >= FEWEST
    )


@contextmanager
def linear_layers() -> Iterator[None]:
    """Inside, the nn.Linear layers of all networks compute by `linear`."""

    def forward(layer: nn.Linear, x: Tensor) -> Tensor:
        return linear(x, layer.weight, layer.bias)

    own = nn.Linear.forward
    nn.Linear.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Linear.forward = own  # type: ignore[method-assign]
