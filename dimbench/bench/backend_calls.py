"""The backends of an operator timed against each other and against what no backend can beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import torch
from torch import Tensor

from dimbench.bench.alternating import Call
from dimbench.kernels import backends
from dimbench.kernels.backends import Example

COPY = "torch.copy"


def forward_calls(example: Example, names: Sequence[str], usual: str) -> dict[str, Call]:
    """One forward pass by each backend, the example's floors, and a copy of as many bytes as it reads and writes. To
    enter torch's inference mode, and to ask for the `usual` backend, would be a part of the time of short calls: the
    first is for the caller, and the second is left out."""

    def call(name: str) -> Call:
        if name == usual:
            return lambda: example.run(*example.inputs)

        def run() -> object:
            with backends.use(name):
                return example.run(*example.inputs)

        return run

    output = torch.empty_like(example.inputs[0])
    return {**{name: call(name) for name in names}, **example.floors, COPY: _copy(*example.inputs, output)}


def backward_calls(example: Example, names: Sequence[str]) -> dict[str, Call]:
    """The gradients of all inputs by each backend, without the forward pass, the example's floors for them, and a copy
    of as many bytes as it reads and writes."""
    leaves = [t.clone().requires_grad_() if t.is_floating_point() else t for t in example.inputs]
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    output = example.run(*leaves)
    grad = torch.ones_like(output)

    def call(name: str) -> Call:
        def run() -> object:
            with backends.use(name):
                return torch.autograd.grad(output, wanted, grad, retain_graph=True)

        return run

    copied = {COPY: _copy(*example.inputs, grad, *wanted)}
    return {**{name: call(name) for name in names}, **example.floors_backward, **copied}


def _copy(*tensors: Tensor) -> Call:
    """A copy that reads and writes as many bytes as the tensors have, half each."""
    floats = sum(t.numel() * t.element_size() for t in tensors) // 8
    source = torch.ones(floats, device=tensors[0].device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def clock(device: str) -> Callable[[], float]:
    """Seconds; on a GPU when all its work is done."""
    if torch.device(device).type != "cuda":
        return perf_counter

    def synchronised() -> float:
        torch.cuda.synchronize(device)
        return perf_counter()

    return synchronised
