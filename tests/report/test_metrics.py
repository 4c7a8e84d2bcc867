from __future__ import annotations

import pytest

from dimbench.report import metrics


@pytest.mark.parametrize(
    ("name", "value", "unit", "text", "full", "smaller"),
    [
        ("seconds", 0.0370125, "s", "37.01 ms", "37.01 ms", True),
        ("images_per_second", 1234.5, "images/s", "1234", "1234", False),
        ("peak_bytes", 2_700_611_775, "B", "2.70 GB", "2.70 GB", True),
        ("macs", 118621421568, "MACs", "118.62 G", "118,621,421,568", True),
        ("macs_per_image", 59310710784000, "MACs", "59.31 T", "59,310,710,784,000", True),
        ("params_dead", 0, "parameters", "0", "0", True),
        ("fid", 2.2744, "", "2.274", "2.274", True),
        ("recall", 0.57, "", "0.57", "0.57", False),
        ("macs_per_second", 1449127856.1, "macs/s", "1.45 G", "1.45 G", False),
        ("mfu", 0.4512, "", "45.1 %", "45.1 %", False),
        ("seconds", None, "s", "not measured", "not measured", True),
    ],
)
def test_what_a_name_says(name: str, value: float | None, unit: str, text: str, full: str, smaller: bool) -> None:
    assert metrics.unit(name) == unit
    assert metrics.text(name, value) == text
    assert metrics.text(name, value, full=True) == full
    assert metrics.smaller_is_better(name) is smaller


def test_which_metrics_are_shown() -> None:
    assert metrics.shown("bench", [{"macs": 1, "peak_bytes": 2}, {"seconds": 3}]) == ["seconds", "peak_bytes"]
    out_of_memory = {"seconds": None, "images_per_second": None, "mfu": None}
    assert metrics.shown("bench", [out_of_memory, {**out_of_memory, "mfu": 0.1}]) == ["seconds", "mfu"]
    assert metrics.shown("count-speed", [{"ratio": 1}, {"ratio": 2, "seconds": 3}]) == ["ratio", "seconds"]


def test_no_label_says_only_flops() -> None:
    assert metrics.label("flops") == "FLOPs (2 x MACs)"
    assert metrics.label("peak_bytes") == "peak bytes"
