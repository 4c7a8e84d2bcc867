"""Claims that are no single figure: what a sentence says, how it is answered, and what two sources print unlike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from dimbench.papers import printed as tables
from dimbench.papers.figures import Figure
from dimbench.papers.printed import COUNTED, PrintedRow


class SentenceKind(StrEnum):
    ARITHMETIC = "arithmetic"
    COUNT = "beside a count"
    OWN_TABLE = "beside its own table"
    TWO_SOURCES = "two sources"
    CONDITIONS = "conditions"
    STRUCTURE = "structure"
    SPEED = "speed"


class Holds(StrEnum):
    YES = "holds"
    NO = "does not hold"
    OWN_TABLE = "contradicts its own table"
    TWO_SOURCES = "two sources contradict each other"
    CONDITIONS = "printed without its conditions"
    UNMEASURED = "not measured"
    UNKNOWN = "not checkable here"


@dataclass(frozen=True)
class Answer:
    """What was found, with the figures it rests on."""

    verdict: Holds
    found: str


@dataclass(frozen=True)
class Sentence:
    """What `source` says; `check` computes the answer, `command` is where a reader sees its figures. `about` are the
    names of models and tables by which it is asked for."""

    kind: SentenceKind
    source: str
    says: str
    check: Callable[[], Answer]
    command: str
    about: tuple[str, ...] = ()


def holds(true: bool, found: str, otherwise: Holds = Holds.NO) -> Answer:
    """The answer to what is either true or `otherwise`."""
    return Answer(Holds.YES if true else otherwise, found)


def contradictions() -> list[Sentence]:
    """Figures about one network that two surveys print unlike, beyond any rounding."""
    printed: dict[tuple[str, int, str], dict[str, tuple[PrintedRow, str, Figure]]] = {}
    for table, row, quantity, figure in _of_surveys():
        key = (row.model, row.resolution, quantity)
        printed.setdefault(key, {}).setdefault(table.split("-")[1], (row, table, figure))
    found = []
    for (model, _, quantity), by_survey in printed.items():
        for (one, first), (other, second) in combinations(by_survey.items(), 2):
            if not first[2].reading(float(second[2].value)) and not second[2].reading(float(first[2].value)):
                found.append(_contradiction(model, quantity, (one, *first), (other, *second)))
    return found


def _of_surveys() -> Iterator[tuple[str, PrintedRow, str, Figure]]:
    for table in tables.all_tables().values():
        for row in table.rows if table.survey else ():
            for index, column in enumerate(table.columns):
                if row.model and column.name in COUNTED and (figure := table.figure(row, index)):
                    yield table.name, row, column.name, figure


def _contradiction(
    model: str, quantity: str, one: tuple[str, PrintedRow, str, Figure], other: tuple[str, PrintedRow, str, Figure]
) -> Sentence:
    unit = "M parameters" if quantity == "params" else "Gflops"
    sides = [(survey, table, figure) for survey, _, table, figure in (one, other)]
    row = one[1]
    says = " and ".join(f"{figure.printed} in {table}" for _, table, figure in sides)

    def check() -> Answer:
        from dimbench.papers.beside import counted

        ours, own, _ = counted(one[3], quantity, row)
        by_rule = f", {one[3].like(own)} by {row.rule}" if own != ours else ""
        right = [table for _, table, figure in sides if figure.reading(ours) or figure.reading(own)]
        return Answer(
            Holds.TWO_SOURCES,
            f"{one[3].like(ours)} by our count{by_rule}: right is {' and '.join(right) or 'neither'}",
        )

    return Sentence(
        SentenceKind.TWO_SOURCES, "two surveys (July 2025)", f"{unit} of {row.label} at {row.resolution}: {says}",
        check, f"dimbench audit {model}", (model, *(table for _, table, _ in sides)),
    )  # fmt: skip
