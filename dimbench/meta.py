"""Networks and tensors that have shapes and nothing else: the meta device, without the detours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from dimbench.errors import DimbenchError


class NeedsValuesError(DimbenchError):
    """What was asked of a tensor that has a shape and no values."""

    def __init__(self, asked: str) -> None:
        super().__init__(
            f"{asked.strip('_')} depends on the values of a tensor, so the cost does too, and shapes alone would give "
            "a wrong count; count on real tensors (--real)"
        )


class Uncompiled(TorchDispatchMode):
    """A mode that does not load torch's compiler, which takes longer than a whole count."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping the compiler means loading it first


class ShapesOnly(Uncompiled):
    """Gives the shapes of the commonest operators on the meta device directly.

    torch's own meta kernels for them are written in Python and load its compiler on first use. Whatever is not named
    here goes to torch. Tensors with values keep them until they meet one without.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _is_composite(func):  # seen in inference mode alone
            with self:
                return func.decompose(*args, **kwargs)
        shapes, values = _kinds(args, kwargs)
        if shapes and values:
            args, kwargs = tree_map_only(Tensor, _forget, (args, kwargs))
        output = _shape(func, args, kwargs) if shapes else func(*args, **kwargs)
        self.note(func, args, kwargs, output)
        return output

    def note(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        """For those who want to see what was called."""


@contextmanager
def shapes_only() -> Iterator[None]:
    """Whatever is built or computed inside lies on the meta device."""
    with torch.device("meta"), ShapesOnly():
        yield


@contextmanager
def autocast_to_shapes() -> Iterator[None]:
    """Modules that ask for autocast on their input's device get it; torch knows none for the meta device."""
    init = torch.autocast.__init__

    def lenient(self: torch.autocast, device_type: str, *args: Any, **kwargs: Any) -> None:
        init(self, "cpu" if device_type == "meta" else device_type, *args, **kwargs)

    torch.autocast.__init__ = lenient  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.autocast.__init__ = init  # type: ignore[method-assign]


def build(factory: Callable[[], nn.Module]) -> nn.Module:
    """What `factory` builds, shapes only; where building asks for values it is built with them, and then loses them."""
    try:
        with shapes_only():
            return factory()
    except (RuntimeError, TypeError, NeedsValuesError):
        return factory().to("meta")


def broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """torch.broadcast_shapes, which loads a solver of equations on first use."""
    rank = max(map(len, shapes))
    sides = []
    for column in zip(*((1,) * (rank - len(shape)) + tuple(shape) for shape in shapes), strict=True):
        side = next((side for side in column if side != 1), 1)
        if any(other not in (1, side) for other in column):
            raise RuntimeError(f"shapes {', '.join(map(str, map(tuple, shapes)))} do not fit together")
        sides.append(side)
    return tuple(sides)


def _kinds(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[bool, bool]:
    """Whether a call makes or takes tensors without values, and whether it takes any with them."""
    shapes, values = str(kwargs.get("device", "")) == "meta", False
    for arg in (*args, *kwargs.values()):
        for item in arg if isinstance(arg, (list, tuple)) else (arg,):
            if isinstance(item, Tensor):
                shapes, values = shapes or item.is_meta, values or not item.is_meta
    return shapes, values


def _forget(x: Tensor) -> Tensor:
    return x if x.is_meta else x.to("meta")


@cache
def _is_composite(func: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


def _shape(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    name = func._overloadpacket.__name__
    if torch.Tag.data_dependent_output in func.tags:
        raise NeedsValuesError(name)
    output = _quick_shape(func, name, args, kwargs)
    if output is not NotImplemented:
        return output
    try:
        return func(*args, **kwargs)
    except RuntimeError as error:
        sized_by_values = torch.Tag.dynamic_output_shape in func.tags and name != "index"
        if sized_by_values or isinstance(error, NotImplementedError):
            raise NeedsValuesError(name) from error
        raise


def _quick_shape(func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The shape where it is known here, else NotImplemented: torch has the say in whatever is unusual."""
    if func.is_view or torch.Tag.inplace_view in func.tags or "out" in kwargs:
        return NotImplemented
    if name in _SHAPES:
        return _SHAPES[name](*args, **kwargs)
    in_place = name.endswith("_") and not name.startswith("__")
    if torch.Tag.pointwise in func.tags and name != "clone":
        return _pointwise(func, args, kwargs, in_place)
    return args[0] if in_place else NotImplemented


def _pointwise(func: Any, args: Sequence[Any], kwargs: dict[str, Any], in_place: bool) -> Any:
    operands = [arg for arg in (*args, *kwargs.values()) if isinstance(arg, Tensor)]
    shape: tuple[int, ...] = operands[0].shape
    if any(operand.shape != shape for operand in operands):
        shape = broadcast(*(operand.shape for operand in operands))
    if in_place:
        return args[0] if args[0].shape == shape else NotImplemented
    dtype = _dtype(func, args, kwargs)
    if dtype is None:
        return NotImplemented
    whole = [operand for operand in operands if operand.shape == shape]
    if not whole:
        return torch.empty(shape, dtype=dtype, device="meta")
    return _like(next((operand for operand in whole if 0 not in operand.stride()), whole[0]), dtype)


def _like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """torch.empty_like, whose kernel is one of the slow ones: x's shape, without gaps, its sides in memory as x's."""
    if x.is_contiguous():
        return x.new_empty(x.shape, dtype=dtype)
    if 0 in x.stride():
        return torch.empty_like(x, dtype=dtype)
    strides, step = [0] * x.ndim, 1
    for dim in sorted(range(x.ndim), key=lambda dim: (x.stride(dim), -dim)):
        strides[dim], step = step, step * x.shape[dim]
    return torch.empty_strided(x.shape, strides, dtype=dtype or x.dtype, device="meta")


_dtypes: dict[Any, torch.dtype | None] = {}


def _dtype(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> torch.dtype | None:
    """What the operator itself gives for empty tensors of the same types; None where it gives no single tensor."""
    key = (func, *map(_kind, args), *((name, _kind(value)) for name, value in kwargs.items()))
    if key not in _dtypes:
        small, named = tree_map_only(Tensor, _small, (args, kwargs))
        try:
            result = func(*small, **named)
        except RuntimeError:  # the CPU cannot; torch's own shapes can
            result = None
        _dtypes[key] = result.dtype if isinstance(result, Tensor) else None
    return _dtypes[key]


def _kind(arg: Any) -> Any:
    if isinstance(arg, Tensor):
        return arg.dtype, arg.ndim > 0
    return type(arg) if isinstance(arg, (bool, int, float, complex)) else str(arg)


def _small(x: Tensor) -> Tensor:
    return torch.ones((0,) if x.ndim else (), dtype=x.dtype, device="cpu")


def _arange(*bounds: float, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    start, end, step = {1: (0, *bounds, 1), 2: (*bounds, 1), 3: bounds}[len(bounds)]
    whole = all(isinstance(bound, int) for bound in bounds)
    dtype = dtype or (torch.int64 if whole else torch.get_default_dtype())
    return torch.empty(math.ceil((end - start) / step), dtype=dtype, device="meta")


def _product(left: Tensor, right: Tensor, **kwargs: Any) -> Tensor:
    fits = left.shape[:-2] == right.shape[:-2] and left.shape[-1] == right.shape[-2] and left.dtype == right.dtype
    return left.new_empty(*left.shape[:-1], right.shape[-1]) if fits and not kwargs else NotImplemented


def _added_product(bias: Tensor, left: Tensor, right: Tensor, **_: Any) -> Tensor:
    return _product(left, right)


def _convolution(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    *rest: Any,
) -> Tensor:
    if transposed or x.ndim != kernel.ndim or x.dtype != kernel.dtype or x.shape[1] != kernel.shape[1] * rest[-1]:
        return NotImplemented
    sides = []
    for i, (side, width) in enumerate(zip(x.shape[2:], kernel.shape[2:], strict=True)):
        step, pad, wide = (values[i % len(values)] for values in (stride, padding, dilation))
        sides.append((side + 2 * pad - wide * (width - 1) - 1) // step + 1)
    return x.new_empty(x.shape[0], kernel.shape[0], *sides) if min(sides) > 0 else NotImplemented


def _layer_norm(x: Tensor, shape: list[int], *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    if tuple(x.shape[x.ndim - len(shape) :]) != tuple(shape):
        return NotImplemented
    statistics = (*x.shape[: x.ndim - len(shape)], *[1] * len(shape))
    return x.new_empty(x.shape), x.new_empty(statistics), x.new_empty(statistics)


def _group_norm(x: Tensor, gain: Any, bias: Any, batch: int, channels: int, area: int, groups: int, *_: Any) -> Any:
    if x.numel() != batch * channels * area:
        return NotImplemented
    return _like(x), x.new_empty(batch, groups), x.new_empty(batch, groups)


def _batch_norm(x: Tensor, gain: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    channels = x.shape[1] if rest[3] else 0
    if gain is not None and gain.shape[0] != x.shape[1]:
        return NotImplemented
    return _like(x), x.new_empty(channels), x.new_empty(channels)


def _softmax(x: Tensor, dim: int, to_float: bool) -> Tensor:
    return NotImplemented if to_float else _like(x)


def _embedding(table: Tensor, rows: Tensor, *_: Any, **__: Any) -> Tensor:
    return table.new_empty(*rows.shape, table.shape[1])


def _index(x: Tensor, indices: list[Tensor | None]) -> Tensor:
    if any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices):
        raise NeedsValuesError("indexing by a mask")
    if indices[0] is None:
        return NotImplemented
    leading = [index for index in indices if index is not None]
    if len(leading) < len(indices):
        return NotImplemented
    shape = broadcast(*(index.shape for index in leading))
    return x.new_empty(*shape, *x.shape[len(leading) :])


def _made(size: list[int], *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return torch.empty(size, dtype=dtype, device="meta")


def _made_like(x: Tensor, *_: Any, dtype: torch.dtype | None = None, **__: Any) -> Tensor:
    return _like(x, dtype)


def _repeat(x: Tensor, times: list[int]) -> Tensor:
    sides = (1,) * (len(times) - x.ndim) + tuple(x.shape)
    return x.new_empty([side * many for side, many in zip(sides, times, strict=True)])


def _index_select(x: Tensor, dim: int, rows: Tensor) -> Tensor:
    if x.ndim == 0 or rows.ndim != 1:
        return NotImplemented
    shape = list(x.shape)
    shape[dim] = rows.shape[0]
    return x.new_empty(shape)


def _sort(x: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    return _like(x), _like(x, torch.int64)


def _unchanged(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return _like(x)


def _cat(parts: list[Tensor], dim: int = 0) -> Tensor:
    first, dim = parts[0], dim % max(parts[0].ndim, 1)
    for part in parts[1:]:
        if part.dtype != first.dtype or part.ndim != first.ndim:
            return NotImplemented
        if part.shape[:dim] != first.shape[:dim] or part.shape[dim + 1 :] != first.shape[dim + 1 :]:
            return NotImplemented
    shape = list(first.shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    return first.new_empty(shape)


def _stack(parts: list[Tensor], dim: int = 0) -> Tensor:
    return _cat([part.unsqueeze(dim) for part in parts], dim)


def _reduced(x: Tensor, dims: list[int] | None = None, keepdim: bool = False, **kwargs: Any) -> Tensor:
    if kwargs or not x.ndim or not (x.is_floating_point() or x.is_complex()):
        return NotImplemented
    reduced = {dim % x.ndim for dim in dims or range(x.ndim)}
    sides = [1 if i in reduced else side for i, side in enumerate(x.shape) if keepdim or i not in reduced]
    return x.new_empty(sides)


def _vector_norm(x: Tensor, order: float = 2, dims: list[int] | None = None, keepdim: bool = False, **_: Any) -> Tensor:
    return _reduced(x, dims, keepdim) if x.is_floating_point() else NotImplemented


def _to_copy(x: Tensor, *, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
    """Wherever it goes, what has no values stays without."""
    if kwargs.get("memory_format") not in (None, torch.preserve_format):
        return NotImplemented
    return _like(x, dtype)


_SHAPES: dict[str, Callable[..., Any]] = {
    "_to_copy": _to_copy,
    "_log_softmax": _softmax,
    "_softmax": _softmax,
    "addmm": _added_product,
    "arange": _arange,
    "baddbmm": _added_product,
    "bmm": _product,
    "cat": _cat,
    "convolution": _convolution,
    "embedding": _embedding,
    "index": _index,
    "index_put": _unchanged,
    "index_select": _index_select,
    "linalg_vector_norm": _vector_norm,
    "mean": _reduced,
    "mm": _product,
    "native_batch_norm": _batch_norm,
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
    "ones_like": _made_like,
    "rand": _made,
    "rand_like": _made_like,
    "randn": _made,
    "randn_like": _made_like,
    "repeat": _repeat,
    "roll": _unchanged,
    "stack": _stack,
    "sort": _sort,
    "sum": _reduced,
    "zeros_like": _made_like,
}
