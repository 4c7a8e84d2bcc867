from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dimbench.methods.method import Method, OnStep, check_range, refuse, replaced
from dimbench.methods.pace import Pace
from dimbench.methods.reuse import Reused

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class State(Method):
    """Wang et al. 2025: a network of an encoder and a decoder encodes anew at every `every`-th step alone, and decodes
    at each; time and class are those that were encoded."""

    every: int = 2

    name: ClassVar[str] = "state"
    changes: ClassVar[str] = "what the blocks compute"
    says: ClassVar[str] = "what the encoder of a decoupled network gives reused for `every` steps"
    wraps: ClassVar[str] = "DDT"
    source: ClassVar[str] = "DDT, arXiv 2504.05741, its state_refresh_rate"

    def __post_init__(self) -> None:
        check_range(self, "every", 1)

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[OnStep]:
        found = halves(network)
        if not found:
            raise refuse(self, network, "it has no encoder whose state its decoder is given; state wraps DDT")
        encode, decode = found
        pace = Pace(self.every)
        state = Reused(encode, pace)

        def forward(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            return decode(x, state(x, t, y))

        with replaced(network, forward), pace.over(self, network):
            yield pace.tell


def halves(network: nn.Module) -> tuple[Callable[..., Tensor], ...]:
    """The encoder of a decoupled network and the decoder that is given its state; of another network none."""
    found = (getattr(network, "encode", None), getattr(network, "decode", None))
    return tuple(half for half in found if half) if all(found) else ()
