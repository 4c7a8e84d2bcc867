"""What one forward pass costs: a trace gives a bill, which a rule of `rules` adds up.

The trace runs on the meta device: shapes only, no weights, no arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.flop_counter import flop_registry

from dimbench.meta import ShapesOnly

# aten's names for what the field calls otherwise
_NAMES = {
    "addmm": "linear",
    "mm": "linear",
    "bmm": "matmul",
    "baddbmm": "matmul",
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
}
# operators that move or make numbers and compute none
_MOVES = frozenset(
    """_to_copy _unsafe_view alias as_strided arange bernoulli cat clone constant_pad_nd copy copy_ detach embedding
    empty empty_like empty_strided expand fill fill_ flip full full_like gather index index_put index_select lift_fresh
    new_empty new_empty_strided new_full new_ones new_zeros ones ones_like permute pixel_shuffle pixel_unshuffle rand
    randn repeat roll scalar_tensor scatter select slice slice_scatter split split_with_sizes squeeze stack t transpose
    unbind unfold unsqueeze view where zero_ zeros zeros_like""".split()  # noqa: SIM905
)


Inputs = Mapping[str, Any] | Callable[[], Any]


@dataclass
class Line:
    """One operator of one module, all its calls together. `macs` is 0 where no formula is known; `elements` counts
    outputs, `vectors` those of the last axis, `images` the batch once per call; a dead line is work that official code
    does and we leave out, because nothing reads it."""

    module: str
    operator: str
    count: int = 0
    macs: int = 0
    elements: int = 0
    vectors: int = 0
    images: int = 0
    dead: bool = False

    @property
    def flops(self) -> int:
        return 2 * self.macs

    def gain(self, other: Line) -> None:
        """Add the calls of another line of the same place."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_SUMS = ("count", "macs", "elements", "vectors", "images")  # the fields of a line that grow with its calls


@dataclass(frozen=True)
class Bill:
    """The lines of one forward pass of `batch` images."""

    lines: tuple[Line, ...]
    batch: int

    @property
    def dead_macs(self) -> int:
        """Work of the official code that nothing reads and we do not run."""
        return sum(line.macs for line in self.lines if line.dead)

    @property
    def uncounted(self) -> dict[str, tuple[int, int]]:
        """Arithmetic without a MAC formula: operator -> (calls, output elements)."""
        found: dict[str, tuple[int, int]] = {}
        for line in self.lines:
            if not line.macs and not line.dead:
                calls, elements = found.get(line.operator, (0, 0))
                found[line.operator] = (calls + line.count, elements + line.elements)
        return dict(sorted(found.items(), key=lambda item: -item[1][1]))


def trace(model: nn.Module, inputs: Inputs, batch: int, alike: nn.Module | None = None) -> Bill:
    """The bill of `model` called with `inputs`, or of what `inputs` calls; tensors are on the meta device.

    Calls of its part `alike` with tensors of the same shapes are taken to cost the same: one of each is followed.
    """
    ledger = _Ledger(batch)
    with torch.no_grad(), ledger.follow(model), _Operators(ledger), _FusedAttention(ledger), ledger.once(alike):
        inputs() if callable(inputs) else model(**inputs)
    for path, module in model.named_modules():
        if dead := getattr(module, "dead_macs", 0):
            ledger.add("linear", batch * dead, batch * module.out_features, module=path, dead=True)
    return Bill(tuple(ledger.lines.values()), batch)


class _Ledger:
    """Collects lines under the module that is running."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.lines: dict[tuple[str, str, bool], Line] = {}
        self.path = [""]

    def add(
        self, operator: str, macs: int, elements: int, vectors: int = 0, module: str | None = None, dead: bool = False
    ) -> None:
        path = self.path[-1] if module is None else module
        line = self.lines.setdefault((path, operator, dead), Line(path, operator, dead=dead))
        line.count += 1
        line.macs += macs
        line.elements += elements
        line.vectors += vectors
        line.images += self.batch

    @contextmanager
    def follow(self, model: nn.Module) -> Iterator[None]:
        handles = []
        for path, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(lambda *_, path=path: self.path.append(path)))
            handles.append(module.register_forward_hook(lambda *_: self._leave(), always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _leave(self) -> None:
        self.path.pop()

    @contextmanager
    def once(self, module: nn.Module | None) -> Iterator[None]:
        """Inside, a call of `module` with shapes it had before is booked as that one was, and not made."""
        if module is None:
            yield
            return
        forward, known = module.forward, {}

        def called(*args: Any, **kwargs: Any) -> Any:
            leaves, spec = tree_flatten((args, kwargs))
            key = (spec, tuple((x.shape, x.dtype) if isinstance(x, Tensor) else x for x in leaves))
            if key not in known:
                before = {place: replace(line) for place, line in self.lines.items()}
                known[key] = forward(*args, **kwargs), self._since(before)
                return known[key][0]
            output, lines = known[key]
            for line in lines:
                place = (line.module, line.operator, line.dead)
                self.lines.setdefault(place, Line(line.module, line.operator, dead=line.dead)).gain(line)
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
            old = before.get(place, Line(line.module, line.operator))
            if line.count > old.count:
                grown.append(replace(line, **{name: getattr(line, name) - getattr(old, name) for name in _SUMS}))
        return grown


class _FusedAttention(TorchFunctionMode):
    """Books attention as one operator before a device's choice of kernel takes it apart."""

    def __init__(self, ledger: _Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, key, value = args[:3]
        scores = prod(query.shape[:-1]) * key.shape[-2]
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        self.ledger.add("attention", scores * (query.shape[-1] + value.shape[-1]), output.numel())
        self.ledger.add("softmax", 0, scores)
        return output


class _Operators(ShapesOnly):
    """Books every operator that reaches the dispatcher."""

    def __init__(self, ledger: _Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = super().__torch_dispatch__(func, types, args, kwargs)
        packet = func._overloadpacket
        name = packet.__name__
        if formula := flop_registry.get(packet):
            macs, elements = formula(*args, **kwargs, out_val=output) // 2, _elements(output)
            self.ledger.add(plain_name(name), macs, elements, _vectors(output))
        elif name not in _MOVES and not func.is_view and _elements(output):
            self.ledger.add(plain_name(name), 0, _elements(output))
        return output


def plain_name(name: str) -> str:
    """The field's word for an operator of aten."""
    return _NAMES.get(name, name.strip("_"))


def _elements(output: Any) -> int:
    first = output[0] if isinstance(output, (tuple, list)) else output
    return first.numel() if isinstance(first, Tensor) else 0


def _vectors(output: Any) -> int:
    first = output[0] if isinstance(output, (tuple, list)) else output
    return first.numel() // first.shape[-1]
