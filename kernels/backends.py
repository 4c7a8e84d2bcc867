"""Which implementation of an operator runs: the first that can, or the one that was asked for.

A backend is a module with `why_not(*tensors)` and the functions its operator calls (`forward`, and `backward` or
`inverse`). `why_not` returns None where it can run, else the reason as half a sentence; where it should run but is
broken, it raises DimbenchError. An operator's package also has `example(size)`, a call to measure.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimbench.errors import DimbenchError, UsageError

_forced: str | None = None
_watching: list[dict[str, str]] = []


@dataclass(frozen=True)
class Size:
    """Of an operator's inputs: B images of L positions with E channels and, in a scan, N states. `dtype` is that of
    what comes by position."""

    batch: int = 1
    length: int = 256
    channels: int = 1024
    states: int = 16
    dtype: torch.dtype = torch.float32
    device: str = "cpu"

    def normal(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Standard normal numbers, the same on every device."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(shape, generator=generator).to(self.device, dtype or self.dtype)


@dataclass(frozen=True)
class Example:
    """`run(*inputs)` is a call as a network makes it; `floors` are calls whose time says how fast it could be, and
    `floors_backward` how fast its gradients."""

    run: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]
    floors: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    floors_backward: Mapping[str, Callable[[], object]] = field(default_factory=dict)


class Backends:
    """The backends of the operator whose package is `package`, the best first; the last can always run."""

    def __init__(self, package: str, names: Sequence[str]) -> None:
        self.package = package
        self.names = tuple(names)
        self._warned: set[str] = set()
        self._modules: dict[str, Any] = {}

    @property
    def operator(self) -> str:
        return self.package.rpartition(".")[2]

    def choose(self, *inputs: Tensor | None) -> Any:
        """The module that runs for these inputs. Raises UsageError where one was asked for that cannot."""
        name = self.backend_for(*inputs)
        for names in _watching:
            names[self.operator] = name
        return self.module(name)

    def backend_for(self, *inputs: Tensor | None) -> str:
        """The name of the backend that runs for these inputs."""
        if _forced in self.names:
            if reason := self.why_not(_forced, *inputs):
                raise UsageError(f"kernel {_forced} cannot run {self.operator} here: {reason}")
            return _forced
        for name in self.names[:-1]:
            if self._can_run(name, *inputs):
                return name
        return self.names[-1]

    def why_not(self, name: str, *inputs: Tensor | None) -> str | None:
        """Why backend `name` cannot run for these inputs, or None."""
        try:
            return self.module(name).why_not(*inputs)
        except DimbenchError as error:
            return str(error)

    def example(self, size: Size) -> Example:
        """A call of this size. Raises UsageError where the operator takes no such size."""
        return import_module(self.package).example(size)

    def module(self, name: str) -> Any:
        if name not in self._modules:
            self._modules[name] = import_module(f"{self.package}.{name.replace('-', '_')}")
        return self._modules[name]

    def _can_run(self, name: str, *inputs: Tensor | None) -> bool:
        try:
            return self.module(name).why_not(*inputs) is None
        except DimbenchError as error:
            if name not in self._warned:
                self._warned.add(name)
                warnings.warn(f"kernel {name} of {self.operator} is left out: {error}", stacklevel=2)
            return False


def torch_operator(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorates a function, whose annotations say its schema, which becomes the operator dimbench::`name` of torch on
    every device. It costs half of what torch.library.custom_op does on each call."""

    def made(function: Callable[..., Any]) -> Any:
        whole = f"dimbench::{name}"
        torch.library.define(whole, torch.library.infer_schema(function, mutates_args=()))
        torch.library.impl(whole, "CompositeExplicitAutograd", function)
        return getattr(torch.ops.dimbench, name).default

    return made


def check(name: str) -> None:
    """Raise UsageError where some operator has a backend of this name and no device here on which it can run it."""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for operator in operators().values():
        if name in operator.names:
            examples = [operator.example(Size(length=16, channels=16, device=device)) for device in devices]
            reasons = [operator.why_not(name, *example.inputs) for example in examples]
            if all(reasons):
                raise UsageError(
                    f"kernel {name} cannot run {operator.operator} here: {' and '.join(map(str, reasons))}"
                )


@contextmanager
def use(name: str | None) -> Iterator[None]:
    """Inside, every operator that has a backend of this name runs it or raises; None leaves the choice to each.

    Raises UsageError where no operator has one.
    """
    global _forced
    if name is not None and name not in _known():
        raise UsageError(f"there is no kernel {name!r}; known are {', '.join(_known())}")
    before, _forced = _forced, name
    try:
        yield
    finally:
        _forced = before


@cache
def _known() -> list[str]:
    return sorted({name for operator in operators().values() for name in operator.names})


@contextmanager
def watch() -> Iterator[dict[str, str]]:
    """A dictionary that fills with operator -> backend as operators run inside."""
    used: dict[str, str] = {}
    _watching.append(used)
    try:
        yield used
    finally:
        _watching.remove(used)


def foreseen(names: Collection[str], dtype: torch.dtype, device: str) -> dict[str, str]:
    """Operator -> the backend that `watch` will see run, for a network whose bill names these operators. Raises
    UsageError where one was asked for that cannot."""
    used = {name: each for name, each in operators().items() if any(n.startswith(name) for n in names)}
    size = Size(length=16, channels=16, dtype=dtype, device=device)
    return {name: each.backend_for(*each.example(size).inputs) for name, each in used.items()}


@cache
def operators() -> dict[str, Backends]:
    """The backends of all operators, by the operator's name: the packages beside this file."""
    folders = sorted(init.parent.name for init in Path(__file__).parent.glob("*/__init__.py"))
    return {name: import_module(f"dimbench.kernels.{name}").backends for name in folders}
