"""Other people's counters over the same network, per operator, in multiply-adds.

They patch what they count and some leave it so, hence `apart`.
"""

from __future__ import annotations

import logging
import multiprocessing
import warnings
from collections import Counter
from collections.abc import Callable
from math import prod
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten
from torch.utils.flop_counter import FlopCounterMode

from dimbench.counting.bill import Bill, Inputs, call, plain_name
from dimbench.counting.products import scores
from dimbench.errors import DimbenchError
from dimbench.kernels import causal_conv, haar, selective_scan

T = TypeVar("T")

FVCORE_RULE = {
    "says": "what fvcore 0.1.5 sees, with our handles for attention, scan and Haar; 4 (with gain 5) per norm element",
    "source": "facebookresearch/fvcore, fvcore/nn/jit_handles.py; its own name for the sum is flops",
}


def compare(
    make: Callable[[], tuple[nn.Module, Inputs]], bill: Bill
) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    """What each counter sees of the network and inputs that `make` gives, by operator; and why some could not."""
    counts, failed = {"dimbench": bill.by_operator}, {}
    for name, count in {"fvcore": lambda: fvcore(*make())[0], "torch": lambda: torch_counter(*make())}.items():
        try:
            counts[name] = apart(count)
        except DimbenchError as error:
            failed[name] = str(error)
    return counts, failed


def apart(count: Callable[[], T]) -> T:
    """What `count` returns in a process of its own; DimbenchError with the last line of what it raises there."""
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(count, sending))
    process.start()
    sending.close()
    try:
        done, answer = receiving.recv()
    except EOFError:
        process.join()
        done, answer = False, f"its process ended with code {process.exitcode}"
    process.join()
    if not done:
        raise DimbenchError(answer)
    return answer


def _answer(count: Callable[[], Any], sending: Connection) -> None:
    torch.set_num_threads(1)  # threads do not survive a fork
    try:
        sending.send((True, count()))
    except Exception as error:  # whatever another's counter meets is its answer
        lines = str(error).strip().splitlines() or [""]
        sending.send((False, f"{type(error).__name__}: {lines[-1]}"))


def torch_counter(model: nn.Module, inputs: Inputs) -> dict[str, int]:
    """torch.utils.flop_counter's FLOPs of the call, halved."""
    # Before 2.15, torch's counter has no formula for its own attention on the CPU and leaves it out.
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=attention) as counter:
        call(model, inputs)
    sums: Counter[str] = Counter()
    for packet, flops in counter.get_flop_counts().get("Global", {}).items():
        sums[plain_name(packet.__name__)] += flops // 2
    return dict(sums)


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return 2 * prod(scores(query, key, value, grouped=True)) * (query[-1] + value[-1])


class OfTensors(nn.Module):
    """The call as tensors in and tensors out, which is all that a trace of torch.jit takes."""

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.model = model
        self.leaves, self.spec = tree_flatten(inputs)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(leaf for leaf in self.leaves if isinstance(leaf, Tensor))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = iter(tensors)
        leaves = [next(given) if isinstance(leaf, Tensor) else leaf for leaf in self.leaves]
        output = call(self.model, tree_unflatten(leaves, self.spec))
        return tuple(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))


def fvcore(model: nn.Module, inputs: Inputs) -> tuple[dict[str, int], dict[str, int]]:
    """fvcore's sums by operator with handles for attention and kernels; and the operators it skipped with calls.

    fvcore calls its multiply-adds "flops" and adds 4 per layer-norm element (5 where the norm has a gain).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it traces with torch.jit, which torch calls deprecated
        from fvcore.nn import FlopCountAnalysis

        network = OfTensors(model, inputs)
        analysis = FlopCountAnalysis(network, network.tensors)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        logging.getLogger("fvcore").setLevel(logging.ERROR)
        analysis.set_op_handle(
            **{
                "aten::scaled_dot_product_attention": _attention,
                "dimbench::causal_conv": _kernel(causal_conv.flops),
                "dimbench::selective_scan": _kernel(selective_scan.flops),
                "dimbench::haar_tokens": _kernel(haar.token_flops),
                "dimbench::haar_tokens_inverse": _kernel(haar.token_flops),
            }
        )
        counted: Counter[str] = Counter()
        for name, macs in analysis.by_operator().items():
            counted[_NAMES.get(name, name)] += int(macs)
        return dict(counted), {name.split("::")[-1]: calls for name, calls in analysis.unsupported_ops().items()}


_NAMES = {
    "addmm": "linear",
    "bmm": "matmul",
    "conv": "convolution",
    "einsum": "matmul",
    "mm": "linear",
    "scaled_dot_product_attention": "attention",
}


def _shape(value: Any) -> Any:
    """The shape or the constant that a node of the traced graph stands for."""
    return tuple(value.type().sizes()) if value.isCompleteTensor() else value.toIValue()


def _attention(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    query, key, value = (_shape(i) for i in inputs[:3])
    grouped = bool(_shape(inputs[7]))
    return Counter({"attention": prod(scores(query, key, value, grouped)) * (query[-1] + value[-1])})


def _kernel(flops: Any) -> Any:
    def handle(inputs: list[Any], outputs: list[Any]) -> int:
        return flops(*(_shape(i) for i in inputs)) // 2

    return handle
