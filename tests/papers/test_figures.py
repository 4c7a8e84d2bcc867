from __future__ import annotations

import pytest

from dimbench.papers import figures
from dimbench.papers.figures import CUT_OFF, IN_TENS, ROUNDED, Figure

GIGA = 10**9


def figure(printed: str, unit: int = GIGA) -> Figure:
    found = figures.read(printed, unit)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("printed", "number", "reading"),
    [
        ("5.56", 5_564_999_999, ROUNDED),
        ("5.56", 5_565_000_000, ROUNDED),  # the edge itself
        ("5.56", 5_566_414_848, CUT_OFF),  # DiT-B/4
        ("5.56", 5_570_000_000, ""),
        ("5.56", 5_555_000_000, ROUNDED),
        ("5.56", 5_554_999_999, ""),  # nothing is rounded up by more than half
        ("19.70", 19_698_876_416, ROUNDED),
        ("19.7", 19_660_000_000, ROUNDED),
        ("19.70", 19_660_000_000, ""),  # the zero is a digit that was printed
        ("210", 210_728_779_776, CUT_OFF),
        ("860", 862_407_184_000, IN_TENS),
        ("860", 865_000_000_001, ""),
        ("861", 862_407_184_000, ""),
        ("210.0", 210_400_000_000, ""),  # a decimal point: known to tenths
    ],
)
def test_a_figure_is_known_as_far_as_it_is_printed(printed: str, number: int, reading: str) -> None:
    assert figure(printed).reading(number) == reading


@pytest.mark.parametrize(
    ("printed", "value"),
    [("675M", 675e6), ("33", 33e9), ("16.5B", 16.5e9), ("2.42G", 2.42e9), ("1.4K", 1400), ("1,234", 1234e9)],
)
def test_units(printed: str, value: float) -> None:
    assert float(figure(printed).value) == value


@pytest.mark.parametrize("printed", ["", "-", "68.3-68.9", "2,5,8,5,2 blocks", "250x2", "M"])
def test_what_is_no_single_number_is_none(printed: str) -> None:
    assert figures.read(printed) is None


def test_ours_is_shown_in_the_notation_of_the_figure() -> None:
    assert figure("675M").like(674_834_720) == "674.83M"
    assert figure("118.64").like(118_638_231_552) == "118.638"
    assert figure("0.91").like(12_345_678_900_000) == "12,345.679"


def test_off_is_relative_to_the_count() -> None:
    assert figure("2").off(1 * GIGA) == 1
    assert figure("3").off(4 * GIGA) == -0.25
