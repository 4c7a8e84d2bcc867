"""Networks and tensors that have shapes and nothing else: the meta device, without the detours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class ShapesOnly(TorchDispatchMode):
    """Gives the shapes of the commonest operators on the meta device directly.

    torch's own meta kernels for them are written in Python and load its compiler on first use, which takes longer than
    all the rest of a count. Whatever is not named here goes to torch.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping the compiler means loading it first

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._overloadpacket.__name__
        if name in _SHAPES:
            return _SHAPES[name](*args, **kwargs)
        if name.endswith("_") and not name.startswith("__"):  # in place
            return args[0]
        if torch.Tag.pointwise in func.tags:
            return _pointwise(*args, **kwargs)
        return func(*args, **kwargs)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Whatever is built or computed inside lies on the meta device."""
    with torch.device("meta"), ShapesOnly():
        yield


def _pointwise(*args: Any, **kwargs: Any) -> Tensor:
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    dtype = kwargs.get("dtype") or torch.result_type(tensors[0], tensors[-1])
    return torch.empty(torch.broadcast_shapes(*(t.shape for t in tensors)), dtype=dtype, device="meta")


def _arange(*bounds: float, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    start, end, step = {1: (0, *bounds, 1), 2: (*bounds, 1), 3: bounds}[len(bounds)]
    whole = all(isinstance(bound, int) for bound in bounds)
    dtype = dtype or (torch.int64 if whole else torch.get_default_dtype())
    return torch.empty(math.ceil((end - start) / step), dtype=dtype, device="meta")


def _addmm(bias: Tensor, left: Tensor, right: Tensor, **_: Any) -> Tensor:
    return left.new_empty(left.shape[0], right.shape[1])


def _layer_norm(x: Tensor, shape: list[int], *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    statistics = (*x.shape[: x.ndim - len(shape)], *[1] * len(shape))
    return x.new_empty(x.shape), x.new_empty(statistics), x.new_empty(statistics)


def _cat(parts: list[Tensor], dim: int = 0) -> Tensor:
    shape = list(parts[0].shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    return parts[0].new_empty(shape)


def _stack(parts: list[Tensor], dim: int = 0) -> Tensor:
    return _cat([part.unsqueeze(dim) for part in parts], dim)


def _mean(x: Tensor, dims: list[int] | None = None, keepdim: bool = False, **_: Any) -> Tensor:
    reduced = {dim % x.ndim for dim in (range(x.ndim) if dims is None else dims)}
    sides = [1 if i in reduced else side for i, side in enumerate(x.shape) if keepdim or i not in reduced]
    return x.new_empty(sides)


def _vector_norm(x: Tensor, order: float = 2, dims: list[int] | None = None, keepdim: bool = False, **_: Any) -> Tensor:
    return _mean(x, dims, keepdim)


_SHAPES: dict[str, Callable[..., Any]] = {
    "addmm": _addmm,
    "arange": _arange,
    "cat": _cat,
    "linalg_vector_norm": _vector_norm,
    "mean": _mean,
    "native_layer_norm": _layer_norm,
    "stack": _stack,
}
