from __future__ import annotations

import json
import math

import pytest

from dimbench.errors import UsageError
from dimbench.report import trackers
from dimbench.report.findings import gather
from tests.report.records import bench, compare

NAME = "bench dit-xl2 (device cpu, device name Xeon, dtype fp32, batch 1, resolution 256)"


def test_github_benchmark_has_what_is_better_when_smaller() -> None:
    entries = json.loads(trackers.github_benchmark(gather([bench(run=1), bench(seconds=9.0), compare()])))
    assert entries == [
        {
            "name": f"{NAME}: time",
            "unit": "s",
            "value": pytest.approx(0.04),
            "range": "0.03964 to 0.04036",
            "extra": "samples: 20\ndimbench: 0.1.0\ncommit: aaaa\ntorch: 2.15.0\nprocessor: Xeon\ncpus: 2",
        },
        {
            "name": f"{NAME}: peak bytes",
            "unit": "B",
            "value": 2_700_000_000,
            "extra": "samples: 1\ndimbench: 0.1.0\ncommit: aaaa\ntorch: 2.15.0\nprocessor: Xeon\ncpus: 2",
        },
    ]


def test_bencher_has_latency_in_nanoseconds_with_bounds() -> None:
    assert json.loads(trackers.bencher(gather([bench(), compare()]))) == {
        NAME: {
            "latency": {
                "value": pytest.approx(40e6),
                "lower_value": pytest.approx(39.64e6),
                "upper_value": pytest.approx(40.36e6),
            },
            "throughput": {"value": 25.0},
            "peak-bytes": {"value": 2_700_000_000},
        }
    }


@pytest.mark.parametrize("render", [trackers.github_benchmark, trackers.bencher])
def test_what_was_not_measured_is_left_out(render) -> None:  # type: ignore[no-untyped-def]
    fid = {**bench(), "command": "fid", "metrics": {"fid": math.nan, "recall": None}}
    assert json.loads(render(gather([bench(seconds=None), fid]))) in ([], {})


@pytest.mark.parametrize("render", [trackers.github_benchmark, trackers.bencher])
def test_comparisons_alone_have_no_place_in_them(render) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="only comparisons were given"):
        render(gather([compare()]))
