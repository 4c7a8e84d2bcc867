"""The lines that a count is made of, and their sums. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Booking(StrEnum):
    """How an operator stands in the bill: with its multiply-adds, as arithmetic of another kind, or as a product of
    which no formula is known."""

    COUNTED = "counted"
    UNCOUNTED = "uncounted"
    MISSING = "missing"


@dataclass
class Line:
    """One operator of one module, all its calls together. `elements` counts outputs, `vectors` those of a product
    along the last axis, `images` the rows that its module was given in each call, `read` what a pool took in, `gained`
    outputs that a norm also scaled, `plain` the multiply-adds of an attention that ran as bare matmuls; a dead line is
    work that official code does and we leave out, because nothing reads it."""

    module: str
    operator: str
    count: int = 0
    macs: int = 0
    elements: int = 0
    dead: bool = False
    kind: Booking = Booking.COUNTED
    read: int = 0
    gained: int = 0
    plain: int = 0
    vectors: int = 0
    images: int = 0

    @property
    def flops(self) -> int:
        return 2 * self.macs

    def blank(self) -> Line:
        """A line of the same place without a call."""
        return Line(self.module, self.operator, dead=self.dead, kind=self.kind)

    def gain(self, other: Line, times: int = 1) -> None:
        """Add the calls of another line of the same place, or with `times` -1 take them off."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + times * getattr(other, name))


# the fields of a line that grow with its calls
_SUMS = ("count", "macs", "elements", "read", "gained", "plain", "vectors", "images")


@dataclass(frozen=True)
class Bill:
    """The lines of one forward pass of `batch` images; `real` when their values were there too."""

    lines: tuple[Line, ...]
    batch: int
    real: bool = False

    @property
    def counted_on(self) -> int | None:
        """How many images the figures hold for; None where shapes decide them."""
        return self.batch if self.real else None

    @property
    def by_operator(self) -> dict[str, int]:
        """The multiply-adds of each operator that is a product, without dead lines."""
        found: dict[str, int] = {}
        for line in self.lines:
            if line.macs and not line.dead:
                found[line.operator] = found.get(line.operator, 0) + line.macs
        return found

    @property
    def dead_macs(self) -> int:
        """Work of the official code that nothing reads and we do not run."""
        return sum(line.macs for line in self.lines if line.dead)

    @property
    def uncounted(self) -> dict[str, tuple[int, int]]:
        """Arithmetic that is no product: operator -> (calls, output elements)."""
        return self._sums(Booking.UNCOUNTED)

    @property
    def missing(self) -> dict[str, tuple[int, int]]:
        """Products without a formula, and operators that torch does not know: operator -> (calls, output elements)."""
        return self._sums(Booking.MISSING)

    def _sums(self, kind: Booking) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for line in self.lines:
            if line.kind is kind:
                calls, elements = found.get(line.operator, (0, 0))
                found[line.operator] = (calls + line.count, elements + line.elements)
        return dict(sorted(found.items(), key=lambda item: -item[1][1]))
