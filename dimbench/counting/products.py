"""Multiply-adds of the operators that multiply and sum, by the shapes they are called with.

A product of complex numbers counts as four real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor

from dimbench.meta import broadcast

Formula = Callable[..., int]  # (output, *args, **kwargs of the operator) -> multiply-adds


def count(func: Any, args: Sequence[Any], kwargs: dict[str, Any], output: Any) -> int | None:
    """The multiply-adds of one call of `func`; None where no formula is known."""
    name, packet = base_name(func), func._overloadpacket
    if func.namespace == "aten":
        if formula := _FORMULAS.get(name):
            return weight(output) * formula(output, *args, **kwargs)
        if not multiplies(func):
            return None
        if name != packet.__name__:
            packet = getattr(torch.ops.aten, name, packet)
    if known := _known_to_torch(packet):
        return weight(output) * (known(*args, **kwargs, out_val=output) // 2)
    return None


def _known_to_torch(packet: Any) -> Any:
    from torch.utils.flop_counter import flop_registry  # which loads a compiler

    return flop_registry.get(packet)


def weight(output: Any) -> int:
    """Real products per product of the numbers in `output`."""
    first = output[0] if isinstance(output, (tuple, list)) else output
    return 4 if isinstance(first, Tensor) and first.is_complex() else 1


@cache
def base_name(func: Any) -> str:
    """The operator's name without what marks it as working in place."""
    name: str = func._overloadpacket.__name__
    return name.removesuffix("_") if func._schema.is_mutable and not name.startswith("__") else name


@cache
def multiplies(func: Any) -> bool:
    """Whether `func` is one of those that multiply and sum; of an operator that torch does not know, it is assumed."""
    if func.namespace != "aten":
        return func.namespace not in _PLUMBING
    words = base_name(func).strip("_").split("_")
    return not _NO_PRODUCTS & set(words) and any(
        word in _PRODUCTS or word.endswith("mm") or (word.startswith("conv") and word != "convert") for word in words
    )


_PRODUCTS = frozenset(
    """matmul mv dot vdot linear trilinear attention rnn lstm gru cdist pdist euclidean linalg solve spsolve cholesky qr
    svd inverse lu det ormqr householder geqrf transformer""".split()  # noqa: SIM905
)
_PLUMBING = frozenset(("prim", "prims", "profiler", "c10d", "_c10d_functional"))
# words that tell norms, layouts, checks and the gates of a cell from products
_NO_PRODUCTS = frozenset(("norm", "cross", "unpack", "flatten", "check", "thnn"))


def scores(query: Sequence[int], key: Sequence[int], value: Sequence[int], grouped: bool = False) -> tuple[int, ...]:
    """The shape of query key^T in an attention of these shapes; `grouped` when queries share the heads of keys."""
    if grouped:
        key, value = ((*query[:-2], *shape[-2:]) for shape in (key, value))
    return (*broadcast(query[:-2], key[:-2], value[:-2]), query[-2], key[-2])


def _fused_attention(output: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return prod(scores(query.shape, key.shape, value.shape, grouped=True)) * (query.shape[-1] + value.shape[-1])


def _rows(output: Tensor, left: Tensor, *_: Any, **__: Any) -> int:
    return left.numel() * output.shape[-1]


def _added_rows(output: Tensor, bias: Any, left: Tensor, *_: Any, **__: Any) -> int:
    return left.numel() * output.shape[-1]


def _matrix(output: Any, matrix: Tensor, *_: Any, **__: Any) -> int:
    return matrix.numel()


def _added_matrix(output: Any, bias: Any, matrix: Tensor, *_: Any, **__: Any) -> int:
    return matrix.numel()


def _convolution(output: Tensor, x: Tensor, kernel: Tensor, *how: Any) -> int:
    transposed = how[4]
    return (x if transposed else output).numel() * prod(kernel.shape[1:])


def _outer(output: Tensor, *_: Any, **__: Any) -> int:
    return output.numel()


def _grouped(output: Tensor, left: Tensor, right: Tensor, *_: Any, **__: Any) -> int:
    """Each row, column or summand belongs to one group; only where both have a matrix per group all are used."""
    if left.ndim == 3 and right.ndim == 2:
        return left.shape[-2] * right.numel()
    return left.numel() * right.shape[-1]


def _convolution_in_time(output: Tensor, x: Tensor, kernel: Tensor, *_: Any, **__: Any) -> int:
    return output.numel() * kernel.shape[0] * kernel.shape[1]


def _trilinear(
    output: Any,
    first: Tensor,
    second: Tensor,
    third: Tensor,
    expand1: list[int],
    expand2: list[int],
    expand3: list[int],
    summed: list[int],
    *_: Any,
    **__: Any,
) -> int:
    """The first two are multiplied and summed over what the third lacks, then that by the third."""
    shapes = []
    for tensor, missing in ((first, expand1), (second, expand2), (third, expand3)):
        shape = list(tensor.shape)
        for dim in sorted(missing):
            shape.insert(dim, 1)
        shapes.append(shape)
    pair = broadcast(*shapes[:2])
    left = [1 if dim in summed and dim in expand3 else side for dim, side in enumerate(pair)]
    return prod(pair) + prod(broadcast(left, shapes[2]))


def _recurrent_layer(output: Any, x: Tensor, inwards: Tensor, onwards: Tensor, *_: Any, **__: Any) -> int:
    return x.numel() // x.shape[-1] * (inwards.numel() + onwards.numel())


def _recurrent_layers(output: Any, x: Tensor, weights: list[Tensor], *_: Any, **__: Any) -> int:
    return x.numel() // x.shape[-1] * sum(w.numel() for w in weights if w.ndim == 2)


_LINEAR = """_int_mm _scaled_mm_v2 _weight_int8pack_mm _weight_int4pack_mm _weight_int4pack_mm_for_cpu
    _weight_int4pack_mm_with_scales_and_zeros _dyn_quant_matmul_4bit _mixed_dtypes_linear mkldnn_linear"""
_ATTENTION = """_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu
    _scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention
    _scaled_dot_product_fused_attention_overrideable"""
_FORMULAS: dict[str, Formula] = {
    **dict.fromkeys(_LINEAR.split(), _rows),
    **dict.fromkeys(_ATTENTION.split(), _fused_attention),
    **dict.fromkeys(("_grouped_mm", "_scaled_grouped_mm", "_scaled_grouped_mm_v2"), _grouped),
    **dict.fromkeys(("_cudnn_rnn", "miopen_rnn"), _recurrent_layers),
    "_addmm_activation": _added_rows,
    "_trilinear": _trilinear,
    "addbmm": lambda output, bias, left, right, **_: left.numel() * right.shape[-1],
    "addmv": _added_matrix,
    "addr": _outer,
    "addmm": _added_rows,
    "baddbmm": _added_rows,
    "bmm": _rows,
    "convolution": _convolution,
    "mm": _rows,
    "conv_tbc": _convolution_in_time,
    "dot": _matrix,
    "mkldnn_rnn_layer": _recurrent_layer,
    "mv": _matrix,
    "vdot": _matrix,
}
