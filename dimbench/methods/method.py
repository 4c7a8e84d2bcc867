"""What a method is, and how it takes a module's place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dimbench.errors import DimbenchError, UsageError

if TYPE_CHECKING:
    from torch import nn

OnStep = Callable[[int], None]
"""Told the number of each step of the sampler before it is taken, 0 for the first."""


Applied = Callable[["nn.Module"], AbstractContextManager[OnStep]]


@dataclass(frozen=True)
class Method(ABC):
    """A frozen dataclass of its settings, whose defaults are those that people use. `changes` says what it takes hold
    of: two methods that change the same exclude each other. `timed` is false where only the values are as the method
    has them, so that its time means nothing; `by_values` is true where what is left out depends on the images;
    `numbers` are those in which the blocks' linear layers multiply, where not in the network's own; where it `converts`
    numbers, what that takes may decide its time; the setting `names_model` names a model, whose own may follow it; it
    is `of_guidance` where an unguided run has nothing for it. `place` is 0 for what changes a linear layer, 1 for what
    stands around a branch, 2 for what may keep the outputs of these."""

    name: ClassVar[str]
    changes: ClassVar[str]
    says: ClassVar[str]
    wraps: ClassVar[str]
    source: ClassVar[str]
    timed: ClassVar[bool] = True
    by_values: ClassVar[bool] = False
    numbers: ClassVar[str] = ""
    converts: ClassVar[bool] = False
    names_model: ClassVar[str] = ""
    of_guidance: ClassVar[bool] = False
    place: ClassVar[int] = 2

    @abstractmethod
    def applied(self, network: nn.Module) -> AbstractContextManager[OnStep]:
        """Inside, `network` runs with the method, for one run of a sampler. Raises UsageError where the method cannot
        wrap the network, and at the end DimbenchError where it did not take effect."""

    def prepared(self, network: nn.Module, draw: Callable[[int], object]) -> Applied:
        """`applied` for runs such as `draw` makes of so many images, without a method, where something has to be
        learned from them."""
        return self.applied

    def excludes(self, other: Method) -> str:
        """What the two do that cannot be together; "" where they can."""
        return f"both change {self.changes}" if self.changes == other.changes else ""

    @classmethod
    def absent(cls) -> str:
        """What is missing here for it to run; "" where nothing is."""
        return ""

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        """Settings to try on a run that calls its network at these times, the mildest first."""
        return [cls()]

    def __str__(self) -> str:
        settings = ",".join(f"{key}={said(value)}" for key, value in asdict(self).items() if value != "")
        return f"{self.name}:{settings}" if settings else self.name


def said(value: float | str) -> str:
    """A setting as people type it, with every digit."""
    if isinstance(value, float) and float(short := f"{value:g}") == value:
        return short
    return str(value)


@contextmanager
def replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Inside, `module` runs `forward`; its hooks, names and weights stay as they are."""
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before


class _EnoughError(Exception):
    """Ends a trial."""


def check_wraps(methods: Sequence[Method], network: nn.Module) -> None:
    """Raise UsageError where one of the methods cannot wrap the network."""
    with suppress(_EnoughError), ExitStack() as stack:
        for method in methods:
            stack.enter_context(method.applied(network))
        raise _EnoughError  # so that none is asked what effect it had


def check_uncompiled(methods: Sequence[str], compile: bool, cuda_graph: bool) -> None:
    """Raise UsageError where the methods of a run would meet a network that is not run as it is written."""
    if methods and (compile or cuda_graph):
        option = "--compile" if compile else "--cuda-graph"
        raise UsageError(
            f"{option} does not follow what --with {methods[0]} does to the network from step to step; leave one of "
            "them out"
        )


def check_range(method: Method, name: str, least: float, most: float = float("inf")) -> None:
    """Raise UsageError for a setting outside of [least, most]."""
    value = getattr(method, name)
    if not least <= value <= most:
        rest = "" if most == float("inf") else f" to {most:g}"
        raise UsageError(f"--with {method.name}: {name}={value:g} is out of range; give {least:g}{rest or ' or more'}")


def refuse(method: Method, network: nn.Module, why: str) -> UsageError:
    """The error for a network that the method cannot wrap."""
    return UsageError(f"{method.name} cannot wrap {type(network).__name__}: {why}")


def no_effect(method: Method, why: str) -> DimbenchError:
    """The error for a run that the method left as it was."""
    return DimbenchError(f"--with {method} did not take effect: {why}; leave it out or give other settings")


def skipped_all(method: Method, made: int, what: str = "step") -> DimbenchError:
    """The error for a run of so many steps, or of `what`, in which nothing was computed after the first."""
    return DimbenchError(
        f"--with {method} left out every {what} but the first of the {made} that the sampler made; give a milder "
        "setting, or more of the sampler's steps"
    )
