from __future__ import annotations

from typing import Any

import pytest

from dimbench.conditions import PROTOCOL
from dimbench.quality.protocol import protocol
from dimbench.report.quality import repeated, side_by_side
from dimbench.results import Record

CONDITIONS = {
    **dict.fromkeys(PROTOCOL, "x"), "reference": "ref.npz", "reference_images": 10_000, "num_images": 50_000,
    "seed": 0,
}  # fmt: skip


def record(model: str, fid: float, details: dict[str, Any] | None = None, **conditions: Any) -> Record:
    return Record("fid", model, {**CONDITIONS, **conditions}, {"fid": fid, "precision": 0.5}, details=details or {})


def cells(table: Any) -> list[list[str]]:
    return [list(row) for row in table.rows]


@pytest.mark.parametrize("name", PROTOCOL)
def test_every_part_of_a_protocol_changes_it(name: str) -> None:
    assert protocol({**CONDITIONS, name: "other"}) != protocol(CONDITIONS)


def test_the_network_the_device_and_names_of_files_do_not() -> None:
    same = {"weights": "abc", "device": "cuda", "kernels": {}, "reference": "elsewhere.npz"}
    assert protocol({**CONDITIONS, **same}) == protocol(CONDITIONS)


def test_unlike_numbers_of_images_stand_in_unlike_rows() -> None:
    table = side_by_side([record("a", 1.0), record("b", 2.0, num_images=1000)])
    assert list(table.columns) == ["", "a", "b"]
    assert cells(table)[:2] == [["FID-50,000", "1", ""], ["FID-1,000", "", "2"]]
    assert cells(table)[-1] == ["protocol", protocol(CONDITIONS), protocol({**CONDITIONS, "num_images": 1000})]
    assert ["IS", "not measured", "not measured"] in cells(table)


def test_a_claim_stands_beside_its_record() -> None:
    claims = {"fid": "2.27", "is": "278.24", "precision": "0.83"}
    table = side_by_side([record("a", 2.3, {"claims": claims})])
    assert list(table.columns) == ["", "a", "claimed"]
    assert cells(table)[:2] == [["FID-50,000", "2.3", "2.27"], ["IS", "not measured", "278.24"]]
    assert ["precision", "0.5", "0.83"] in cells(table)


def test_a_claim_is_of_fifty_thousand_images_whatever_was_measured() -> None:
    table = side_by_side([record("a", 9.0, {"claims": {"fid": "2.27"}}, num_images=100)])
    assert cells(table)[:2] == [["FID-100", "9", ""], ["FID-50,000", "", "2.27"]]


def test_repeats_are_followed_by_what_they_come_to() -> None:
    summary = Record("fid", "a", CONDITIONS, {"fid_mean": 2.0, "fid_spread": 1.0, "fid_minimum": 1.0})
    table = repeated([record("a", 1.0), record("a", 3.0, seed=1)], summary)
    assert list(table.columns) == ["", "a, seed 0", "a, seed 1", "mean of 2", "spread of 2", "minimum of 2"]
    assert cells(table)[0] == ["FID-50,000", "1", "3", "2", "1", "1"]
    assert "The protocols differ in their seed alone." in table.notes


def test_the_mean_of_repeats_has_an_interval() -> None:
    sets = [record("a", 1.0), record("a", 3.0, seed=1)]
    sets = [Record("fid", "a", r.conditions, {**r.metrics, "fid_error": 0.2, "fid_infinity": 1.0}) for r in sets]
    summary = {"fid_mean": 2.0, "fid_spread": 1.0, "fid_minimum": 1.0, "fid_error": 0.1}
    assert cells(repeated(sets, Record("fid", "a", CONDITIONS, summary)))[1] == [
        "FID-50,000, 95 %", "0.608 to 1.392", "2.608 to 3.392", "1.804 to 2.196", "", "",
    ]  # fmt: skip


def test_an_unknown_number_of_reference_images_is_said() -> None:
    (note,) = side_by_side([record("a", 1.0, reference_images=None)]).notes
    assert note.startswith("Compared with ref.npz, an unknown number of images")
