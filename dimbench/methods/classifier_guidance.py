from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dimbench.methods.method import Method, OnStep, check_range

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ClassifierGuidance(Method):
    """Dhariwal & Nichol 2021: each step of a Gaussian process is moved along `scale` times the gradient of the
    log-probability that a classifier of noised images gives the class. `weights` is the classifier's checkpoint;
    left out, the published one if it was fetched, or "random" for a run that is timed or dry."""

    scale: float = 1.0
    weights: str = ""

    name: ClassVar[str] = "classifier"
    changes: ClassVar[str] = "where a step of the sampler leads"
    says: ClassVar[str] = "each step moved by `scale` times the gradient of a classifier of noised images"
    wraps: ClassVar[str] = "ADM"
    source: ClassVar[str] = "arXiv 2105.05233"

    def __post_init__(self) -> None:
        check_range(self, "scale", 0)

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        return []

    def applied(self, network: nn.Module) -> AbstractContextManager[OnStep]:
        return nullcontext(lambda k: None)
