from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dimbench
from dimbench import paths, results
from dimbench.papers import frame
from dimbench.papers import printed as tables
from dimbench.papers.beside import Beside, Judged, compare, elsewhere
from tests.papers.made_up import bench, fid


def entry(comparison: Beside, label: str, heading: str) -> Judged:
    entries = next(entries for row, entries in comparison.rows if row.label == label)
    return next(entry for entry in entries if entry.column.heading == heading)


def test_counts_stand_beside_what_is_printed() -> None:
    found = entry(compare(tables.find("dit-4"), []), "DiT-S/8", "Gflops")
    assert (found.ours, found.macs) == (358_127_616, 357_974_016)
    assert found.within
    assert found.difference == pytest.approx(358_127_616 / 0.36e9 - 1)


def test_what_differs_by_more_than_rounding_is_marked() -> None:
    found = entry(compare(tables.find("survey-mmdit-1"), []), "DiT-S/8", "Gflops")
    assert found.within is False


def test_without_records_nothing_is_measured() -> None:
    found = entry(compare(tables.find("dit-4"), []), "DiT-S/8", "FID-50K")
    assert (found.ours, found.difference, found.within) == (None, None, None)


@pytest.mark.parametrize(
    ("changed", "fits"),
    [
        ({}, True),
        ({"cfg": 1.25}, False),
        ({"num_images": 10000}, False),
        ({"steps": 50}, False),
        ({"weights": "random"}, False),
        ({"resolution": 512}, False),
    ],
)
def test_a_fid_belongs_to_a_row_of_its_conditions(changed: dict[str, Any], fits: bool) -> None:
    table = tables.find("dit-2")
    comparison = compare(table, [fid("dit-xl2", 2.3, **changed)])
    assert (entry(comparison, "DiT-XL/2-G (cfg = 1.50)", "FID").ours == 2.3) is fits


def test_a_fid_belongs_to_published_weights_only() -> None:
    taken = fid("dit-xl2", 20.0, cfg=1.0)
    assert entry(compare(tables.find("dit-4"), [taken]), "DiT-XL/2", "FID-50K").ours is None
    assert entry(compare(tables.find("dit-2"), [taken]), "DiT-XL/2", "FID").ours == 20.0


def test_a_recipe_belongs_to_the_rows_that_print_its_fid() -> None:
    followed = {**fid("dit-xl2", 2.4), "details": {"recipe": "dit-xl2-256-mse-cfg1.5", "claims": {"fid": "2.30"}}}
    by_decoder = compare(tables.find("dit-5"), [followed])
    assert [entry(by_decoder, label, "FID").ours for label in ("original", "ft-MSE", "ft-EMA")] == [None, 2.4, None]
    assert entry(compare(tables.find("dit-2"), [followed]), "DiT-XL/2-G (cfg = 1.50)", "FID").ours is None
    fewer = {**followed, "conditions": {**followed["conditions"], "num_images": 10000}}
    assert entry(compare(tables.find("dit-5"), [fewer]), "ft-MSE", "FID").ours is None


def test_the_newest_record_counts() -> None:
    comparison = compare(tables.find("dit-2"), [fid("dit-xl2", 2.5), fid("dit-xl2", 2.3)])
    assert entry(comparison, "DiT-XL/2-G (cfg = 1.50)", "FID").ours == 2.3


def test_times_belong_to_a_device_and_a_batch() -> None:
    table, heading = tables.find("dico-1"), "Throughput (images/s)"
    fitting, other = bench("dim-h2", 4.0, batch=64), bench("dim-h2", 4.0, batch=32)
    assert entry(compare(table, [fitting]), "DiM-H", heading).ours == 16.0
    assert (
        entry(compare(table, [bench("dim-h2", 4.0, batch=64, device_name="NVIDIA H100")]), "DiM-H", heading).ours
        is None
    )
    comparison = compare(table, [other])
    assert entry(comparison, "DiM-H", heading).ours is None
    assert [(model, column.heading, record) for model, column, record in elsewhere(comparison, [other])] == [
        ("dim-h2", heading, other)
    ]


def test_steps_per_second_are_the_inverse_of_seconds() -> None:
    taken = bench("udit-l", 2.0, mode="train", batch=256, device_name="8 x NVIDIA A100 80GB")
    assert entry(compare(tables.find("udit-11"), [taken]), "U-DiT-L (all modifications)", "Steps/s").ours == 0.5


def test_the_frame_holds_every_figure() -> None:
    found = dimbench.table("dit-4")
    assert found.loc["DiT-XL/2", ("Gflops", "printed")] == "118.64"
    assert found.loc["DiT-XL/2", ("Gflops", "ours")] == pytest.approx(118.638231552)
    assert found.loc["DiT-XL/2", ("Params (M)", "paper")] == 675
    assert found["Gflops", "within"].all()
    assert found["FID-50K", "ours"].isna().all()
    assert "arXiv 2212.09748" in found.attrs["source"]


def test_shipped_results_and_own_records_are_read_by_default(tmp_path: Path) -> None:
    record = results.Record("fid", "dit-xl2", fid("dit-xl2", 2.3)["conditions"], {"fid": 2.3})
    results.append([record], paths.records_file())
    known = frame.known_records()
    assert known[-1]["metrics"] == {"fid": 2.3}
    assert [file.name for file in paths.reference_results()] == sorted(f.name for f in Path("results").glob("*.jsonl"))
    assert len(known) > 1


def test_the_newest_record_comes_last_in_whatever_order_files_are_given(tmp_path: Path) -> None:
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for file, day, value in ((files[0], 2, 2.3), (files[1], 1, 9.9)):
        made = results.Record("fid", "dit-xl2", {}, {"fid": value}, created=f"2026-01-0{day}T00:00:00+00:00")
        results.append([made], file)
    assert [record["metrics"]["fid"] for record in frame.known_records(files)] == [9.9, 2.3]
