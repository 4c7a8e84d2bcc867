from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dimbench.methods.method import Method, OnStep, check_range
from dimbench.methods.reuse import branches, reusing

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Fora(Method):
    """Selvaraju et al. 2024: the branches of all blocks are computed in one step of `every`."""

    every: int = 3

    name: ClassVar[str] = "fora"
    changes: ClassVar[str] = "what the blocks compute"
    says: ClassVar[str] = "outputs of attention and feed-forward networks reused for `every` steps"
    wraps: ClassVar[str] = "blocks with attention, mixers or feed-forward networks as parts"
    source: ClassVar[str] = "FORA, arXiv 2407.01425"

    def __post_init__(self) -> None:
        check_range(self, "every", 1)

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        return [cls(every=every) for every in (2, 3, 5)]

    def applied(self, network: nn.Module) -> AbstractContextManager[OnStep]:
        return reusing(self, network, branches(self, network), self.every)
