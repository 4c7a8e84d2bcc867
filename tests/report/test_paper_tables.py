from __future__ import annotations

from dimbench.papers import printed as tables
from dimbench.papers.beside import compare, elsewhere
from dimbench.report import paper_tables
from dimbench.report.tables import Table
from tests.papers.made_up import fid

RULES = {"macs": "one per multiply-add"}


def shown(name: str, records: list[dict[str, object]] | None = None) -> Table:
    known = records or []
    comparison = compare(tables.find(name), known)
    return paper_tables.render(comparison, RULES, elsewhere(comparison, known))


def column(table: Table, name: str) -> list[str]:
    return [row[list(table.columns).index(name)] for row in table.rows]


def test_ours_stands_beside_each_countable_column() -> None:
    table = shown("dit-4")
    assert column(table, "by dit-paper")[-1] == "118.638"
    assert column(table, "MACs (G)")[-1] == "118.62"
    assert column(table, "Params ours")[-1] == "674.83"
    assert column(table, "Gflops diff")[-1] == "+0.00 %"
    assert any(note.startswith("FID-50K: not measured") for note in table.notes)


def test_rules_that_differ_by_row_are_named_in_it() -> None:
    table = shown("udit-2")
    assert set(column(table, "its rule")) == {"dit-paper", "torchprofile"}


def test_what_lies_outside_the_printed_rounding_is_marked() -> None:
    table = shown("survey-mmdit-1")
    assert all(cell.endswith("!") for cell in column(table, "Gflops diff"))
    assert any("outside the printed rounding" in note for note in table.notes)
    assert not any("outside" in note for note in shown("dit-4").notes)


def test_second_hand_figures_and_what_cannot_be_counted_are_said() -> None:
    table = shown("dit-2")
    assert column(table, "model")[0] == "BigGAN-deep †"
    assert column(table, "by dit-paper")[:4] == ["-", "-", "-", "not checkable"]
    assert any("FLOPs (G): not checkable here, its width" in note for note in shown("udit-9").notes)


def test_measured_numbers_take_their_place_and_others_are_named_below() -> None:
    records = [fid("dit-xl2", 2.31), fid("dit-xl2", 9.9, cfg=1.0, num_images=5000)]
    table = shown("dit-2", records)
    assert column(table, "FID ours")[-2:] == ["not measured", "2.310"]
    assert any("so not compared: dit-xl2 FID 9.9" in note and "num_images 5000" in note for note in table.notes)


def test_entries_are_plain_and_whole() -> None:
    entries = paper_tables.entries(compare(tables.find("dit-4"), []))
    assert len(entries) == 36
    last = next(e for e in entries if (e["row"], e["quantity"]) == ("DiT-XL/2", "gflops"))
    assert (last["printed"], last["rule"], last["within"]) == ("118.64", "dit-paper", True)
    assert last["verdict"] == "agrees under its own rule, which adds 0.01 %"


def test_the_list_names_every_table() -> None:
    listed = list(tables.all_tables().values())
    assert [row[0] for row in paper_tables.listing(listed).rows] == [table.name for table in listed]
