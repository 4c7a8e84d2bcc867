from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dimbench.errors import DimbenchError, UsageError
from dimbench.methods.guiding import Guided, Guiding
from dimbench.methods.method import Method, OnStep

if TYPE_CHECKING:
    from torch import Tensor

    from dimbench.methods.guiding import Alone


@dataclass(frozen=True)
class Autoguidance(Guiding):
    """Karras et al. 2024: in place of the half without a condition a worse network is told the same, and the output is
    moved away from its own by the scale of --cfg. `guide` is a model that draws the same samples, `weights` its
    checkpoint; left out, the one that ships or was fetched."""

    guide: str = ""
    weights: str = ""

    name: ClassVar[str] = "autoguidance"
    says: ClassVar[str] = "guided by a worse network `guide` in place of the half without a condition"
    wraps: ClassVar[str] = "guided runs"
    source: ClassVar[str] = "arXiv 2406.02507"
    names_model: ClassVar[str] = "guide"

    def __post_init__(self) -> None:
        if not self.guide:
            raise UsageError("--with autoguidance names no guide; give guide=NAME, or --guide NAME[:WEIGHTS]")

    @classmethod
    def points(cls, times: Sequence[float]) -> list[Method]:
        return []

    @contextmanager
    def guiding(self, parts: Guided) -> Iterator[tuple[OnStep, Alone]]:
        guide = parts.guide
        if guide is None:
            raise DimbenchError(f"--with {self}: the run was given no guide")

        def call(x: Tensor, t: Tensor) -> Tensor:
            return parts.combine(x, t, parts.alone(x, t), guide(x, t))

        yield lambda k: None, call
