"""What a training step multiplies, by a trace of its forward and backward pass on shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from dimbench.backbone import Backbone, example
from dimbench.errors import UsageError
from dimbench.meta import shapes_only

# What is kept for the backward pass: everything, or the inputs of each block, which then runs again.
VARIANTS = ("none", "reentrant", "non-reentrant")


def _convolution_backward(gradient: Any, input: Any, weight: Any, *rest: Any, **_: Any) -> int:
    """FLOPs of a convolution's gradients. torch's own formula takes one of groups for a dense one."""
    transposed, wanted = rest[4], rest[7]
    ends = input if transposed else gradient
    return 2 * sum(wanted[:2]) * prod(ends) * prod(weight[1:])


_FORMULAS = {torch.ops.aten.convolution_backward: _convolution_backward}


@dataclass(frozen=True)
class StepMacs:
    """Multiply-adds of a step for one image: `forward` alone, and all of it by the VARIANTS of checkpointing."""

    forward: int
    by_variant: dict[str, int]


def training_step(backbone: Backbone, batch: int = 1) -> StepMacs:
    """Counted by torch's counter on a batch of `batch` images. Attention counts as its two products; the backward pass
    of a fused kernel makes the scores again, which is not in it. UsageError for a network without blocks."""
    with shapes_only():
        model = backbone.build().train()
        x, t, given = example(backbone, batch, "meta")
    blocks = _blocks(model, backbone.name)

    def step(backward: bool) -> int:
        with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
            output = backbone.call(model, x, t, given)
            if backward:
                output.sum().backward()
        return int(counter.get_total_flops()) // 2 // batch

    found = {"none": step(backward=True)}
    for variant in VARIANTS[1:]:
        with _checkpointed(blocks, reentrant=variant == "reentrant"):
            found[variant] = step(backward=True)
    return StepMacs(step(backward=False), found)


def _blocks(model: nn.Module, name: str) -> list[nn.Module]:
    """The entries of its outermost lists that are called themselves."""
    lists = {path: module for path, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    outer = [each for path, each in lists.items() if not any(path.startswith(f"{other}.") for other in lists)]
    found = [block for each in outer for block in each if type(block).forward is not nn.Module.forward]
    if not found:
        raise UsageError(f"{name} has no blocks in a list, at whose borders its activations could be checkpointed")
    return found


@contextmanager
def _checkpointed(blocks: list[nn.Module], reentrant: bool) -> Iterator[None]:
    def around(forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            called = partial(forward, **kwargs) if reentrant else forward
            others = {} if reentrant else kwargs
            if not any(isinstance(arg, Tensor) and arg.requires_grad for arg in args):
                return forward(*args, **kwargs)
            return checkpoint(called, *args, use_reentrant=reentrant, preserve_rng_state=False, **others)

        return call

    with ExitStack() as stack:
        for block in blocks:
            block.forward = around(block.forward)
            stack.callback(vars(block).pop, "forward")
        yield
