from __future__ import annotations

import pytest

from dimbench.report import metrics


@pytest.mark.parametrize(
    ("name", "value", "unit", "text", "full", "best"),
    [
        ("seconds", 0.0370125, "s", "37.01 ms", "37.01 ms", "least"),
        ("images_per_second", 1234.5, "images/s", "1234", "1234", "most"),
        ("peak_bytes", 2_700_611_775, "B", "2.70 GB", "2.70 GB", "least"),
        ("macs", 118621421568, "MACs", "118.62 G", "118,621,421,568", "least"),
        ("macs_per_image", 59310710784000, "MACs", "59.31 T", "59,310,710,784,000", "least"),
        ("params_dead", 0, "parameters", "0", "0", "least"),
        ("fid", 2.2744, "", "2.274", "2.274", "least"),
        ("rfid", 0.61, "", "0.61", "0.61", "least"),
        ("fd_dinov2_mean", 79.36, "", "79.36", "79.36", "least"),
        ("drift", 6.199, "", "6.199", "6.199", "least"),
        ("kid_std", 8.202, "", "8.202", "8.202", None),
        ("network_calls", 50, "", "50", "50", None),
        ("seconds_per_token", 4.304e-07, "seconds/token", "430.4 ns", "430.4 ns", "least"),
        ("recall", 0.57, "", "0.57", "0.57", "most"),
        ("macs_per_second", 1449127856.1, "macs/s", "1.45 G", "1.45 G", "most"),
        ("mfu", 0.4512, "", "45.1 %", "45.1 %", "most"),
        ("seconds", None, "s", "not measured", "not measured", "least"),
    ],
)
def test_what_a_name_says(name: str, value: float | None, unit: str, text: str, full: str, best: str | None) -> None:
    assert metrics.unit(name) == unit
    assert metrics.text(name, value) == text
    assert metrics.text(name, value, full=True) == full
    assert metrics.best(name) == best


def test_which_metrics_are_shown() -> None:
    assert metrics.shown("bench", [{"macs": 1, "peak_bytes": 2}, {"seconds": 3}]) == ["seconds", "peak_bytes"]
    out_of_memory = {"seconds": None, "images_per_second": None, "mfu": None}
    assert metrics.shown("bench", [out_of_memory, {**out_of_memory, "mfu": 0.1}]) == ["seconds", "mfu"]
    assert metrics.shown("count-speed", [{"ratio": 1}, {"ratio": 2, "seconds": 3}]) == ["ratio", "seconds"]


def test_every_measure_of_quality_is_shown() -> None:
    rebuilt = {"rfid": 0.61, "psnr": 26.0, "ssim": 0.8, "lpips": 0.1}
    assert metrics.shown("fid", [rebuilt]) == list(rebuilt)
    assert metrics.shown("fid", [{"fd_dinov2": 79.4, "is_mean": 9.0}]) == ["fd_dinov2", "is_mean"]


def test_no_label_says_only_flops() -> None:
    assert metrics.label("flops") == "FLOPs (2 x MACs)"
    assert metrics.label("peak_bytes") == "peak bytes"
