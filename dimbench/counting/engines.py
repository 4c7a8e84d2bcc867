"""Other people's counters over the same network, per operator, in multiply-adds."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from dimbench.backbone import Backbone, created, example
from dimbench.counting.bill import Bill, plain_name
from dimbench.kernels import causal_conv, haar, selective_scan

FVCORE_RULE = {
    "says": "what fvcore 0.1.5 sees, with our handles for attention, scan and Haar; 4 (with gain 5) per norm element",
    "source": "facebookresearch/fvcore, fvcore/nn/jit_handles.py; its own name for the sum is flops",
}


def ours(bill: Bill) -> dict[str, int]:
    """The bill by operator, without dead lines."""
    sums: Counter[str] = Counter()
    for line in bill.lines:
        if line.macs and not line.dead:
            sums[line.operator] += line.macs
    return dict(sums)


def torch_counter(model: nn.Module, inputs: Mapping[Any, Tensor]) -> dict[str, int]:
    """torch.utils.flop_counter's FLOPs of `model` with the inputs in their order, halved."""
    # Before 2.15, torch's counter has no formula for its own attention on the CPU and leaves it out.
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=attention) as counter:
        model(*inputs.values())
    sums: Counter[str] = Counter()
    for packet, flops in counter.get_flop_counts()["Global"].items():
        name = packet.__name__
        sums["attention" if "scaled_dot_product" in name else plain_name(name)] += flops // 2
    return dict(sums)


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def fvcore(model: nn.Module, inputs: Mapping[Any, Tensor]) -> tuple[dict[str, int], dict[str, int]]:
    """fvcore's sums by operator with handles for attention and kernels; and the operators it skipped with calls.

    fvcore calls its multiply-adds "flops" and adds 4 per layer-norm element (5 where the norm has a gain).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it traces with torch.jit, which torch calls deprecated
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(model, tuple(inputs.values()))
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
        counted = {_NAMES.get(name, name): int(macs) for name, macs in analysis.by_operator().items()}
        return counted, {name.split("::")[-1]: calls for name, calls in analysis.unsupported_ops().items()}


_NAMES = {"conv": "convolution", "scaled_dot_product_attention": "attention"}


def _shape(value: Any) -> Any:
    """The shape or the constant that a node of the traced graph stands for."""
    return tuple(value.type().sizes()) if value.isCompleteTensor() else value.toIValue()


def _attention(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    query, key, value = (_shape(i) for i in inputs[:3])
    scores = int(torch.Size(query[:-1]).numel()) * key[-2]
    return Counter({"attention": scores * (query[-1] + value[-1])})


def _kernel(flops: Any) -> Any:
    def handle(inputs: list[Any], outputs: list[Any]) -> int:
        return flops(*(_shape(i) for i in inputs)) // 2

    return handle


class Called(nn.Module):
    """A backbone's network as torch's tools want one: forward(x, t, what it is given, in the order of `names`)."""

    def __init__(self, backbone: Backbone, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.backbone, self.names = backbone, tuple(names)

    def forward(self, x: Tensor, t: Tensor, *given: Tensor) -> Tensor:
        return self.backbone.call(self.model, x, t, dict(zip(self.names, given, strict=True)))


def others(backbone: Backbone) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """By operator what fvcore and torch count of one pass, on real tensors, and the operators fvcore skipped."""
    x, t, given = example(backbone, 1)
    running = Called(backbone, backbone.running(created(backbone)), list(given))
    inputs = dict(enumerate((x, t, *given.values())))
    by_fvcore, skipped = fvcore(running, inputs)
    return by_fvcore, torch_counter(running, inputs), skipped
