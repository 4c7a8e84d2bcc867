from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dimbench.bench.doubts import Doubt, DoubtKind, too_big
from dimbench.bench.parent import with_doubts
from dimbench.report import speed
from dimbench.results import Record

CONDITIONS = {
    "mode": "inference",
    "device": "cpu",
    "device_name": "Some CPU",
    "dtype": "fp32",
    "batch": 1,
    "resolution": 256,
    "kernel": None,
    "compile": False,
    "cuda_graph": False,
    "threads": 2,
    "guided": False,
    "weights": "random",
}
METRICS = {
    "seconds": 0.0370125,
    "seconds_low": 0.036,
    "seconds_high": 0.038,
    "seconds_iqr": 0.0037,
    "images_per_second": 27.0,
    "macs_per_second": 1.5e9,
    "peak_bytes": 7.5e8,
    "first_call_seconds": 0.25,
}


def record(model: str = "dit-s2", doubts: tuple[Doubt, ...] = (), samples: int = 60, **changes: Any) -> Record:
    conditions = {**CONDITIONS, **{name: value for name, value in changes.items() if name in CONDITIONS}}
    metrics = {**METRICS, **{name: value for name, value in changes.items() if name not in CONDITIONS}}
    return with_doubts(Record("bench", model, conditions, metrics, samples={"seconds": [0.037] * samples}), doubts)


def column(records: list[Record], name: str) -> list[str]:
    table = speed.table(records)
    return [row[list(table.columns).index(name)] for row in table.rows]


def test_a_row_has_time_with_interval_and_units() -> None:
    assert column([record()], "time per call") == ["37.01 ms ± 2.7 %"]
    assert column([record()], "IQR") == ["10.0 %"]
    assert column([record()], "memory") == ["750.00 MB"]
    assert column([record()], "first") == ["250.0 ms"]


def test_conditions_that_differ_are_columns_and_others_stand_below() -> None:
    table = speed.table([record(), record(dtype="bf16")])
    assert column([record(), record(dtype="bf16")], "dtype") == ["fp32", "bf16"]
    assert "device" not in table.columns
    assert table.notes[0] == "inference; Some CPU; 2 threads; random weights, which the time does not depend on."


def test_kernels_that_differ_only_between_models_stand_below() -> None:
    kernels = [record("a", kernel="scan cpu"), record("b")]
    table = speed.table(kernels)
    assert "kernel" not in table.columns
    assert "a: kernels scan cpu." in table.notes
    assert column([*kernels, record("a", kernel="scan reference")], "kernel") == ["scan cpu", "", "scan reference"]


def test_too_few_samples_for_an_interval_have_no_spread_either() -> None:
    few = record(samples=2, seconds_low=None, seconds_high=None, images_per_second=1234.5)
    assert column([few], "time per call") == ["37 ms of 2 samples"]
    assert column([few], "images/s") == ["1,200"]
    assert column([few], "IQR") == [""]


def test_a_condition_that_nobody_thought_of_is_a_column_where_it_differs() -> None:
    other = replace(record(), conditions={**CONDITIONS, "token_merging": "0.5"})
    assert column([record(), other], "token merging") == ["", "0.5"]
    assert "token merging" not in speed.table([other, other]).columns


@pytest.mark.parametrize("name", ["p90", "p99", "MFU", "J/image", "compiling", "of the roof", "steps/s"])
def test_figures_that_no_row_has_are_no_columns(name: str) -> None:
    assert name not in speed.table([record()]).columns


def test_mfu_states_its_peak() -> None:
    known = record(mfu=0.25, peak_macs_per_second=6e9, ridge_macs_per_byte=5.0, macs_per_byte=9.0, roof_share=0.25)
    assert column([known], "MFU") == ["25.0 %"]
    assert any("6.00 G MACs/s in fp32" in note for note in speed.table([known]).notes)
    assert any("not measured" in note and "dimbench device" in note for note in speed.table([record()]).notes)
    assert "of the roof" not in speed.table([known]).columns
    bound = record(mfu=0.25, peak_macs_per_second=6e9, ridge_macs_per_byte=5.0, macs_per_byte=2.0, roof_share=0.6)
    assert column([bound], "of the roof") == ["60.0 %"]


def test_a_row_that_did_not_fit_says_so() -> None:
    empty = Record("bench", "dit-xl2", CONDITIONS, dict.fromkeys(METRICS))
    empty = with_doubts(empty, [too_big("out of memory (CUDA: 9 GB)")])
    table = speed.table([record(), empty])
    assert "not measured" in table.rows[1]
    assert "  dit-xl2 256 px batch 1: out of memory (CUDA: 9 GB)" in table.notes


def test_advice_is_said_once_for_all_rows() -> None:
    wide = Doubt(DoubtKind.WIDE, "the ratio was 1: 2", "wait")
    first = record("a", (Doubt(DoubtKind.LOAD, "the load was 9", "wait"), wide))
    second = record("b", (Doubt(DoubtKind.LOAD, "the load was 8", "wait"),))
    assert list(speed.table([first, second]).notes[-4:]) == [
        "Wait:",
        "  a 256 px batch 1: the load was 9; the ratio was 1: 2",
        "  b 256 px batch 1: the load was 8",
        "b may or may not be slower than a: these intervals do not tell.",
    ]


def test_sentences_of_older_records_are_left_as_they_are() -> None:
    old = Record("bench", "a", CONDITIONS, METRICS, ("The load was 9: of 10: wait.",))
    assert speed.table([old]).notes[-1] == "a 256 px batch 1: The load was 9: of 10: wait."


def test_training_is_told_from_inference() -> None:
    table = speed.table([record(mode="train", calls_per_second=3.0)])
    assert {"time per step", "steps/s"} <= set(table.columns)
    assert "A training step counts as 3 forward passes." in table.notes
    other = replace(record("meanflow-b4", mode="train"), details={"training_passes": 5})
    both = speed.table([record(mode="train"), other])
    assert "A training step counts as 3 (dit-s2) or 5 (meanflow-b4) forward passes." in both.notes


def test_the_operators_that_decide_a_time_stand_below() -> None:
    found = record(dtype="fp32")
    found = replace(
        found,
        conditions={**found.conditions, "methods": ["int8"]},
        metrics={**found.metrics, "peak_macs_per_second": 2e9, "mfu": 0.5, "run_macs_int8": 1e6},
        details={**found.details, "operators": {"copy_": 0.5, "_int_mm": 0.25}},
    )
    notes = " ".join(speed.table([found]).notes)
    assert "with int8, by torch's profiler: copy_ 50.0 %, _int_mm 25.0 % of its time." in notes
    assert "2.00 G MACs/s in fp32 and int8, each at its own rate" in notes


def test_a_doubt_of_a_row_without_a_resolution_names_its_inputs() -> None:
    found = record(doubts=(too_big("it was killed"),))
    conditions = {name: value for name, value in found.conditions.items() if name != "resolution"}
    found = replace(found, conditions={**conditions, "inputs": "x=6x16"})
    assert any("dit-s2 x=6x16 batch 1: it was killed" in note for note in speed.table([found]).notes)
