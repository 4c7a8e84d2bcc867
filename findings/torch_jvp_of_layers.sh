#!/usr/bin/env bash
# torch 2.14.1, torch.func.jvp: along the input of a Linear or a convolution three products are computed, not two.
#
# The layer's output and its change need W x and W dx. The weights do not move, and yet torch writes their change out as
# zeros, as large as the weights, and multiplies the input by it. Under torch.no_grad and for frozen weights it is the same,
# and with forward_ad's dual tensors. Training that takes a derivative along a path, as MeanFlow's, pays half as much
# again for its forward passes, and memory for the zeros.
#
# Seen: of a Linear and of a convolution three products, one of them by zeros alone. On two cores of an AMD EPYC, one
# thread, the Linear took 5.0 ms, two products 10, and the jvp 16.
# Exits with 0 where the third product is still there.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
cd "$place"
"$place/venv/bin/python" - <<'PYTHON'
from statistics import median
from time import perf_counter

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = {"mm", "addmm", "convolution"}
torch.set_num_threads(1)


class Products(TorchDispatchMode):
    """Whether each product has an operand of zeros alone."""

    def __init__(self):
        super().__init__()
        self.by_zeros = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function._overloadpacket.__name__ in PRODUCTS:
            large = [arg for arg in args if isinstance(arg, torch.Tensor) and arg.ndim > 1]
            self.by_zeros.append(any(not operand.any() for operand in large))
        return function(*args, **kwargs or {})


def milliseconds(call):
    seconds = []
    for _ in range(15):
        started = perf_counter()
        call()
        seconds.append(perf_counter() - started)
    return 1e3 * median(seconds)


print("torch", torch.__version__)
for layer, x in (
    (nn.Linear(1024, 1024), torch.randn(256, 1024)),
    (nn.Conv2d(64, 64, 3, padding=1), torch.randn(4, 64, 32, 32)),
):
    layer.requires_grad_(False)
    with Products() as seen:
        torch.func.jvp(layer, (x,), (x,))
    alone, both = milliseconds(lambda: layer(x)), milliseconds(lambda: torch.func.jvp(layer, (x,), (x,)))
    print(f"{layer}: {len(seen.by_zeros)} products, {sum(seen.by_zeros)} by zeros; {alone:.1f} ms, with its change {both:.1f}")
    assert sorted(seen.by_zeros) == [False, False, True], "this has changed"
PYTHON
