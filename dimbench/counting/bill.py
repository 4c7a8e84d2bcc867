"""What one forward pass costs: a trace gives a bill, which a rule of `rules` adds up.

On the meta device the trace runs on shapes only: no weights, no arithmetic. On real tensors it counts what those made
the network do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from inspect import signature
from itertools import chain
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

from dimbench.counting import products
from dimbench.counting.lines import Bill, Booking, Line
from dimbench.meta import NeedsValuesError, ShapesOnly, autocast_to_shapes

# aten's names for what the field calls otherwise
_NAMES = {
    "addmm": "linear",
    "mm": "linear",
    "bmm": "matmul",
    "native_batch_norm": "batch_norm",
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
    "_safe_softmax": "softmax",
}
# operators that move or make numbers and compute none
_MOVES = frozenset(
    """_to_copy _unsafe_view alias as_strided arange bernoulli cat clone constant_pad_nd copy detach embedding
    empty empty_like empty_strided expand fill flip full full_like gather index index_put index_select lift_fresh
    new_empty new_empty_strided new_full new_ones new_zeros ones ones_like permute pixel_shuffle pixel_unshuffle rand
    randn repeat roll scalar_tensor scatter select slice slice_scatter split split_with_sizes squeeze stack t transpose
    unbind unfold unsqueeze view where zero zeros zeros_like""".split()  # noqa: SIM905
)
# operators that do the work of two in one pass over their numbers
_PARTS = {"addcmul": ("mul", "add"), "addcdiv": ("div", "add")}
# norms, and where among their arguments the gain stands
_GAINS = {"native_batch_norm": 1, "native_group_norm": 1, "native_layer_norm": 2}
# methods that take a number out of a tensor
_ASKS = frozenset(
    (
        "__array__",
        "__bool__",
        "__complex__",
        "__float__",
        "__index__",
        "__int__",
        "is_nonzero",
        "item",
        "numpy",
        "tolist",
    )
)
_CONVOLUTIONS = frozenset((F.conv1d, F.conv2d, F.conv3d))
_MULTI_HEAD = signature(F.multi_head_attention_forward)
_TRANSPOSED = frozenset((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d))

# by name, or (in order, by name), or what makes the call
Inputs = Mapping[str, Any] | tuple[Sequence[Any], Mapping[str, Any]] | Callable[[], Any]


def trace(model: nn.Module, inputs: Inputs, batch: int, alike: Sequence[nn.Module] = ()) -> Bill:
    """The bill of one call of `model` on `inputs`.

    On the meta device only shapes are followed, and NeedsValuesError says where they do not decide the cost; with real
    weights and inputs the same trace counts what those made the network do. Calls of its parts `alike` with shapes
    alone that are the same are taken to cost the same: one of each is followed.
    """
    ledger = _Ledger()
    with (
        torch.no_grad(), autocast_to_shapes(), ledger.follow(model), _Operators(ledger), _Functions(ledger),
        ExitStack() as stack,
    ):  # fmt: skip
        for module in alike:
            stack.enter_context(ledger.once(module))
        output = call(model, inputs)
    for path, module in model.named_modules():
        if dead := getattr(module, "dead_macs", 0):
            ledger.add("linear", batch * dead, batch * module.out_features, module=path, dead=True)
    seen = chain(model.parameters(), _given(inputs), tree_leaves(output))
    return Bill(tuple(ledger.lines.values()), batch, real=not any(map(_is_shape, seen)))


def call(model: nn.Module, inputs: Inputs) -> Any:
    """What `model` gives for `inputs`."""
    if callable(inputs):
        return inputs()
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs[0], **inputs[1])


def _given(inputs: Inputs) -> list[Any]:
    return [] if callable(inputs) else tree_leaves(inputs)


def _is_shape(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_meta


class _Ledger:
    """Collects lines under the module that is running."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str, bool], Line] = {}
        self.path = [""]
        self.rows = [1]
        self.muted = False
        self.in_attention = self.in_plain_attention = False

    def add(
        self,
        operator: str,
        macs: int,
        elements: int,
        module: str | None = None,
        dead: bool = False,
        kind: Booking = Booking.COUNTED,
        read: int = 0,
        gained: int = 0,
        plain: int = 0,
        vectors: int = 0,
    ) -> None:
        if self.muted:
            return
        path = self.path[-1] if module is None else module
        line = self.lines.setdefault((path, operator, dead), Line(path, operator, dead=dead, kind=kind))
        line.count += 1
        line.macs += macs
        line.elements += elements
        line.read += read
        line.gained += gained
        line.plain += plain
        line.vectors += vectors
        line.images += self.rows[-1]

    @contextmanager
    def mute(self) -> Iterator[None]:
        """What runs inside is booked by who called it."""
        before, self.muted = self.muted, True
        try:
            yield
        finally:
            self.muted = before

    @contextmanager
    def attention(self, plain: bool) -> Iterator[None]:
        """Matmuls inside are those of scores and values."""
        self.in_attention, self.in_plain_attention = True, plain
        try:
            yield
        finally:
            self.in_attention = self.in_plain_attention = False

    @contextmanager
    def follow(self, model: nn.Module) -> Iterator[None]:
        handles = []
        for path, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):  # takes no hooks; its caller is booked
                continue
            handles.append(module.register_forward_pre_hook(lambda _m, given, path=path: self._enter(path, given)))
            handles.append(module.register_forward_hook(lambda *_: self._leave(), always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, path: str, given: tuple[Any, ...]) -> None:
        self.path.append(path)
        self.rows.append(len(given[0]) if given and isinstance(given[0], Tensor) and given[0].ndim else 1)

    def _leave(self) -> None:
        self.path.pop()
        self.rows.pop()

    @contextmanager
    def once(self, module: nn.Module) -> Iterator[None]:
        """Inside, a call of `module` with shapes it had before is booked as that one was, and not made. Calls whose
        work differs although their shapes are alike differ in the module's `kind_of_call`."""
        forward, known = module.forward, {}

        def called(*args: Any, **kwargs: Any) -> Any:
            leaves, spec = tree_flatten((args, kwargs))
            shapes = tuple((x.shape, x.dtype) if isinstance(x, Tensor) else x for x in leaves)
            key = (spec, shapes, getattr(module, "kind_of_call", None))
            if key not in known or not any(map(_is_shape, leaves)):
                before = {place: replace(line) for place, line in self.lines.items()}
                known[key] = forward(*args, **kwargs), self._since(before)
                return known[key][0]
            output, lines = known[key]
            for line in lines:
                place = (line.module, line.operator, line.dead)
                self.lines.setdefault(place, line.blank()).gain(line)
            return tree_map(lambda x: torch.empty_like(x) if isinstance(x, Tensor) else x, output)

        module.forward = called
        try:
            yield
        finally:
            del module.forward

    def _since(self, before: Mapping[tuple[str, str, bool], Line]) -> list[Line]:
        """What was booked after `before`."""
        grown = []
        for place, line in self.lines.items():
            old = before.get(place, line.blank())
            if line.count > old.count:
                grown.append(line.blank())
                grown[-1].gain(line)
                grown[-1].gain(old, -1)
        return grown


class _Functions(TorchFunctionMode):
    """Books whole what a device's choice of kernel takes apart, and sees who asks a shape for a value.

    While it is on, torch leaves its fused encoder layers alone and runs their parts.
    """

    def __init__(self, ledger: _Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            with self.ledger.attention(plain=_MULTI_HEAD.bind(*args, **kwargs).arguments.get("need_weights", True)):
                return func(*args, **kwargs)
        if func is F.adaptive_avg_pool2d:  # to one pixel it is a mean to the dispatcher
            with self.ledger.mute():
                output = func(*args, **kwargs)
            read = (*args, *kwargs.values())[0].numel()
            self.ledger.add("adaptive_avg_pool2d", 0, output.numel(), kind=Booking.UNCOUNTED, read=read)
            return output
        if func in _CONVOLUTIONS or func in _TRANSPOSED:
            return self._convolution(func, *args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in _ASKS and isinstance(args[0], Tensor) and args[0].is_meta:
            raise NeedsValuesError(name)
        return func(*args, **kwargs)

    def _attention(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
            return F.scaled_dot_product_attention(query, key, value, *args, **kwargs)  # torch says what is wrong
        scores = products.scores(query.shape, key.shape, value.shape, kwargs.get("enable_gqa", False))
        if query.is_meta and key.is_meta and value.is_meta and not query.requires_grad:
            output = query.new_empty(*scores[:-1], value.shape[-1])
        else:
            with self.ledger.mute():
                output = F.scaled_dot_product_attention(query, key, value, *args, **kwargs)
        macs = products.weight(output) * prod(scores) * (query.shape[-1] + value.shape[-1])
        self.ledger.add("attention", macs, output.numel())
        self.ledger.add("softmax", 0, prod(scores), kind=Booking.UNCOUNTED)
        return output

    def _convolution(self, func: Any, input: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """torch makes three real convolutions of a complex one; by the rule for products it has four."""
        if not input.is_complex():
            return func(input, weight, *args, **kwargs)
        with self.ledger.mute():
            output = func(input, weight, *args, **kwargs)
        ends = input if func in _TRANSPOSED else output
        self.ledger.add("convolution", 4 * ends.numel() * prod(weight.shape[1:]), output.numel())
        return output


class _Operators(ShapesOnly):
    """Books every operator that reaches the dispatcher."""

    def __init__(self, ledger: _Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def note(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        if self.ledger.muted:
            return
        macs = products.count(func, args, kwargs, output)
        name, elements = products.base_name(func), _elements(output)
        operator = plain_name(name)
        if macs is not None:
            if self.ledger.in_attention and operator in ("matmul", "baddbmm"):
                operator = "linear" if _is_shared(args[1]) else "attention"
            plain = macs if self.ledger.in_plain_attention and name == "bmm" and operator == "attention" else 0
            self.ledger.add(operator, macs, elements, plain=plain, vectors=_vectors(output))
        elif products.multiplies(func):
            known = func.namespace == "aten"
            self.ledger.add(operator if known else func.name(), 0, elements, kind=Booking.MISSING)
        elif name not in _MOVES and not func.is_view and elements:
            gained = elements if name in _GAINS and args[_GAINS[name]] is not None else 0
            if name == "native_batch_norm" and not args[5]:
                operator = "frozen_batch_norm"
            for part in _PARTS.get(operator, (operator,)):
                self.ledger.add(part, 0, elements, kind=Booking.UNCOUNTED, gained=gained)


def plain_name(name: str) -> str:
    """The field's word for an operator of aten."""
    return "attention" if name.startswith("_scaled_dot_product") else _NAMES.get(name, name.strip("_"))


def _is_shared(matrices: Tensor) -> bool:
    """Whether the whole batch has one matrix: a layer's weight, however it was spelt."""
    return matrices.shape[0] > 1 and matrices.stride(0) == 0


def _elements(output: Any) -> int:
    first = output[0] if isinstance(output, (tuple, list)) and output else output
    return first.numel() if isinstance(first, Tensor) else 0


def _vectors(output: Any) -> int:
    """Of one tensor, or of the first of several."""
    first = output[0] if isinstance(output, (tuple, list)) and output else output
    return first.numel() // max(1, first.shape[-1]) if isinstance(first, Tensor) and first.ndim else 1
