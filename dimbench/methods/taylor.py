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
class Taylor(Method):
    """Liu et al. 2025: what the branches put out is continued by its finite differences over the computed steps."""

    every: int = 3
    order: int = 1

    name: ClassVar[str] = "taylor"
    changes: ClassVar[str] = "what the blocks compute"
    says: ClassVar[str] = "the same outputs predicted between computed steps by a Taylor series of `order`"
    wraps: ClassVar[str] = "blocks with attention, mixers or feed-forward networks as parts"
    source: ClassVar[str] = "TaylorSeer, arXiv 2503.06923"

    def __post_init__(self) -> None:
        check_range(self, "every", 1)
        check_range(self, "order", 0, 4)

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        return [cls(every=every) for every in (2, 3, 5)]

    def applied(self, network: nn.Module) -> AbstractContextManager[OnStep]:
        return reusing(self, network, branches(self, network), self.every, self.order)
