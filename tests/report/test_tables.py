"""Tables on a screen: drawn line by line where they fit, as rich draws them."""

from __future__ import annotations

import pytest

from dimbench.report.tables import Table


@pytest.mark.parametrize(
    "table",
    [
        Table(("name", "MACs", "x"), [("a", "1,000", ""), ("long name", "12", "zz"), ("b", "-3", "[bold]not counted")]),
        Table(("name", "MACs"), []),
        Table(("one",), [("x" * 198,)]),
    ],
    ids=["columns", "empty", "as wide as fits"],
)
def test_a_table_that_fits_is_drawn_as_rich_draws_it(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    assert table._lines()
    table.show()
    quick = capsys.readouterr().out
    table._folded()
    assert quick == capsys.readouterr().out


@pytest.mark.parametrize("cell", ["x" * 199, "幅"])
def test_what_does_not_fit_is_folded(cell: str, capsys: pytest.CaptureFixture[str]) -> None:
    Table(("one", "two"), [(cell, "y")]).show()
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 200
