"""A row in this process, with and without the memory it needs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from dimbench import results
from dimbench.bench import hardware, memory, parent
from dimbench.bench.doubts import Doubt
from dimbench.bench.measuring import Measuring
from dimbench.bench.rows import Row
from dimbench.comparing import pairs
from dimbench.comparing.gates import Gate, Verdict
from dimbench.comparing.judge import failing, judge

ROWS = [
    Row("dim-digits", 8, budget=0.1),
    Row("udit-digits", 8, budget=0.1, dtype="bf16"),
    Row("dit-digits", 8, budget=0.1, mode="sample", steps=2, cfg=True),
    Row("sit-digits", 8, budget=0.1, mode="sample", steps=2),
]


@pytest.fixture(autouse=True)
def _unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process stays as it is."""
    monkeypatch.setattr(memory, "limit_process", lambda _: None)


def measured(row: Row, **host: Any) -> dict[str, Any]:
    """The record of a row on this host but for what `host` changes, as it is read from a file."""
    events: list[dict[str, Any]] = []
    measuring = Measuring(row, lambda event, **parts: events.append({"event": event, **parts}), lambda *_: None)
    measuring.host_before = replace(hardware.host(), **host)
    measuring.run()
    last = events[-1]
    if last.pop("event") == "too big":
        known = next(event for event in reversed(events) if event.get("event") == "start")
        return parent.unmeasured(row, known, Doubt(**last["doubt"])).as_dict()
    found = [Doubt(**doubt) for doubt in last.pop("doubts")]
    return parent.with_doubts(results.Record("bench", **last), found).as_dict()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)
def test_a_row_that_does_not_fit_is_the_row_that_did(row: Row) -> None:
    finished, too_big = measured(row), measured(row, available=1)
    assert too_big["metrics"]["seconds"] is None
    assert too_big["conditions"] == finished["conditions"]
    found, left_out = pairs.of_files([finished], [too_big])
    assert left_out == []
    changes = judge(found, {}, [None] * len(found))
    (lost,) = failing(changes, [Gate("seconds")], unclear_too=False)
    assert lost.verdict is Verdict.CHANGED
    assert "It needs about" in lost.reason


@pytest.mark.parametrize("mode", ["forward", "sample"])
def test_what_is_not_compiled_does_not_load_the_compiler(mode: str) -> None:
    script = (
        "import sys; from dimbench.bench.measuring import Measuring; from dimbench.bench.rows import Row;"
        f"row = Row(model='dit-digits', budget=0.01, mode={mode!r}, steps={4 if mode == 'sample' else None});"
        "Measuring(row, lambda event, **_: print(event), lambda *_: None).run();"
        "assert 'torch._dynamo' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["done"]), done.stderr
