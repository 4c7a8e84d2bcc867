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


_torchs = functional.linear


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b (..., M) of x (..., D), weight (M, D) and bias (M,), as torch.nn.functional.linear gives it; by oneDNN
    where it has to give no gradient and is worth it. It sums all D products one after the other."""
    if _serves(x, weight):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return _torchs(x, weight, bias)


def gelu_of(layer: nn.Linear, x: Tensor, approximate: str) -> Tensor:
    """The GELU, its form "tanh" or "none", of what the layer gives; inside of `linear_layers` made by oneDNN as it
    multiplies, unless somebody watches the layer or took its place."""
    if functional.linear is linear and _is_bare(layer) and _serves(x, layer.weight):
        return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "gelu", [], approximate)
    return functional.gelu(layer(x), approximate=approximate)


def _is_bare(layer: nn.Linear) -> bool:
    watched = layer._forward_hooks or layer._forward_pre_hooks
    return type(layer) is nn.Linear and "forward" not in vars(layer) and not watched


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
    """Inside, the linear layers of all networks compute by `linear`."""
    before = functional.linear
    functional.linear = linear
    try:
        yield
    finally:
        functional.linear = before
