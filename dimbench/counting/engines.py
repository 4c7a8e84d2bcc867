"""Other people's counters over the same network, per operator, in multiply-adds."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

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


def torch_counter(model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, int]:
    """torch.utils.flop_counter's FLOPs of `model(**inputs)`, halved."""
    # Before 2.15, torch's counter has no formula for its own attention on the CPU and leaves it out.
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=attention) as counter:
        model(**inputs)
    sums: Counter[str] = Counter()
    for packet, flops in counter.get_flop_counts()["Global"].items():
        name = packet.__name__
        sums["attention" if "scaled_dot_product" in name else plain_name(name)] += flops // 2
    return dict(sums)


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def fvcore(model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[dict[str, int], dict[str, int]]:
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
