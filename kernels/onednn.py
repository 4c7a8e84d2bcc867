"""Linear layers in float32 on a CPU by oneDNN: it uses AVX-512 on AMD's processors, which the MKL behind torch's own
product takes for generic ones, in half the time, and adds the bias while it multiplies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional

from dimbench import processor

MKL_IS_GENERIC = processor.is_of_amd()
FEWEST = 2**20  # multiply-adds; calls of fewer cost more than they save
FEW_ROWS = 8  # a product of so few takes as long as its weights take to be read
FEWEST_WEIGHTS = 2**17  # in such a product; calls with fewer cost more than they save
PLAIN = {Tensor, nn.Parameter}
AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")

_torchs = functional.linear
gelu_ = torch.ops.aten.gelu_  # torch.nn.functional has none


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b (..., M) of x (..., D), weight (M, D) and bias (M,), as torch.nn.functional.linear gives it; by oneDNN
    where it has to give no gradient and is worth it. It sums all D products one after the other."""
    if _many(x, weight):
        return _by_onednn(x, weight, bias)
    return _torchs(x, weight, bias)


def product(x: Tensor, y: Tensor) -> Tensor:
    """x y^T (..., M) of x (..., D) and y (M, D): by oneDNN where torch's MKL does not know the processor, for where it
    does it is the faster of the two with as many rows as columns."""
    return linear(x, y) if MKL_IS_GENERIC else _torchs(x, y)


def of_few_rows(layer: nn.Module, x: Tensor) -> Tensor:
    """What the layer gives; of a linear one for up to FEW_ROWS rows, such as a condition of each image, by oneDNN,
    which reads the weights in less than half the time of a product by an MKL that does not know the processor, unless
    somebody watches it or took its place."""
    if _is_bare(layer) and _few(x, layer.weight):
        return _by_onednn(x, layer.weight, layer.bias)
    return layer(x)


def linear_of_few_rows(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b as `of_few_rows` computes it."""
    return _by_onednn(x, weight, bias) if _few(x, weight) else functional.linear(x, weight, bias)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b of a convolution's patches and weights: by oneDNN, which torch computes convolutions by, where it
    serves, else as linear layers are computed."""
    return _by_onednn(x, weight, bias) if _many(x, weight) else functional.linear(x, weight, bias)


def halves_of(layer: nn.Linear, x: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the second half of the features that the layer gives. Where its parameters may be read they are
    computed one after the other: torch's product on a CPU is slower at twice the width, and what follows reads each
    half as it lies."""
    if is_unseen(layer, x):
        weights, biases = layer.weight.chunk(2), (None, None) if layer.bias is None else layer.bias.chunk(2)
        return functional.linear(x, weights[0], biases[0]), functional.linear(x, weights[1], biases[1])
    first, second = layer(x).chunk(2, dim=-1)
    return first, second


def gelu_of(layer: nn.Linear, x: Tensor, approximate: str) -> Tensor:
    """The GELU, its form "tanh" or "none", of what the layer gives; where nobody else sees that made in its place, and
    inside of `linear_layers` by oneDNN as it multiplies."""
    if not is_unseen(layer, x):
        return functional.gelu(layer(x), approximate=approximate)
    if functional.linear is linear and _many(x, layer.weight):
        return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "gelu", [], approximate)
    return gelu_(layer(x), approximate=approximate)


def is_unseen(layer: nn.Module, x: Tensor) -> TypeGuard[nn.Linear]:
    """Whether what a linear layer gives for x is plain float32 on a CPU that needs no gradient and that nobody else
    sees: who calls the layer may change it in place, or compute it otherwise."""
    return _is_bare(layer) and serves(x, layer.weight)


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _many(x: Tensor, weight: Tensor) -> bool:
    return serves(x, weight) and x.numel() * len(weight) >= FEWEST


def _few(x: Tensor, weight: Tensor) -> bool:
    if not MKL_IS_GENERIC or not serves(x, weight):
        return False
    return x.numel() <= FEW_ROWS * x.shape[-1] and weight.numel() >= FEWEST_WEIGHTS


def _is_bare(layer: nn.Module) -> TypeGuard[nn.Linear]:
    everywhere = nn.modules.module._global_forward_hooks or nn.modules.module._global_forward_pre_hooks
    watched = layer._forward_hooks or layer._forward_pre_hooks or everywhere
    return type(layer) is nn.Linear and "forward" not in vars(layer) and not watched


def serves(x: Tensor, weight: Tensor) -> bool:
    """Whether a product of the two is plain float32 on a CPU and needs no derivative, and nobody watches operators, who
    might not know this one: counters would miss it, and its tangent would be zero without a word."""
    return (
        AVAILABLE
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and type(x) in PLAIN  # not quantised, and nobody's own
        and type(weight) in PLAIN
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch._C._len_torch_dispatch_stack()
        and torch._C._functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
        and functional.linear in (_torchs, linear)
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
