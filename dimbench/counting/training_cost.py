"""What a training step multiplies, by a trace of its forward and backward pass on shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from dimbench.backbone import Backbone, example
from dimbench.errors import reason
from dimbench.meta import shapes_only

# How the backward pass may be given the inputs of each block alone, which then runs again.
CHECKPOINTED = ("reentrant", "non-reentrant")


def _convolution_backward(gradient: Any, input: Any, weight: Any, *rest: Any, **_: Any) -> int:
    """FLOPs of a convolution's gradients. torch's own formula takes one of groups for a dense one."""
    transposed, wanted = rest[4], rest[7]
    ends = input if transposed else gradient
    return 2 * sum(wanted[:2]) * prod(ends) * prod(weight[1:])


_FORMULAS = {torch.ops.aten.convolution_backward: _convolution_backward}


class _Whole(nullcontext[None]):
    """Stands for torch's account by module, which fails on views within reentrant checkpoints."""

    parents = frozenset({"Global"})


def _counter() -> FlopCounterMode:
    counter = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
    counter.mod_tracker = _Whole()  # type: ignore[assignment]
    return counter


@dataclass(frozen=True)
class StepMacs:
    """Multiply-adds for one image: of a `forward` pass, of a whole step that keeps its activations, and of one by each
    of the CHECKPOINTED, or why it has none: without a list of blocks, within a derivative along a path, or where torch
    refuses it, such as reentrant ones that share a tensor."""

    forward: int
    whole: int
    checkpointed: dict[str, int]
    not_counted: dict[str, str]


Loss = Callable[[nn.Module, Callable[..., Tensor], Tensor, torch.Generator], Tensor]
"""Of a network, how it is called with x, t and what a form of training adds, and data x."""


def training_step(backbone: Backbone, batch: int = 1, loss: Loss | None = None) -> StepMacs:
    """Counted by torch's counter on a batch of `batch` images: of the `loss`, None for the sum of its output. Attention
    counts as its two products; the backward pass of a fused kernel makes the scores again, which is not in it."""
    with shapes_only():
        model = backbone.build().train()
        x, t, given = example(backbone, batch, "meta")
    blocks = _blocks(model)

    def output(x: Tensor = x, t: Tensor = t, **form: Any) -> Tensor:
        return backbone.call(model, x, t, {**given, **form})

    def step(backward: bool) -> int:
        with shapes_only(), _counter() as counter:
            if not backward:
                output()
            elif loss:
                loss(model, output, x, torch.Generator()).backward()
            else:
                output().sum().backward()
        return int(counter.get_total_flops()) // 2 // batch

    whole = step(backward=True)
    counted: dict[str, int] = {}
    not_counted = {} if blocks else dict.fromkeys(CHECKPOINTED, "it has no list of blocks")
    for variant in CHECKPOINTED if blocks else ():
        try:
            with _checkpointed(blocks, reentrant=variant == "reentrant"):
                macs = step(backward=True)
        except RuntimeError as error:
            not_counted[variant] = f"torch refuses it ({reason(error).partition('. ')[0]})"
            continue
        if macs > whole:
            counted[variant] = macs
        else:
            not_counted[variant] = "no product is made again"
    return StepMacs(step(backward=False), whole, counted, not_counted)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The entries of its outermost lists that are called themselves."""
    lists = {path: module for path, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    outer = [each for path, each in lists.items() if not any(path.startswith(f"{other}.") for other in lists)]
    return [block for each in outer for block in each if type(block).forward is not nn.Module.forward]


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
