"""The parent with children that are a few lines of Python, so that each ends as the test wants."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from dimbench.bench import parent
from dimbench.bench.rows import Row
from dimbench.errors import DimbenchError, UsageError

ROW = Row("dit-digits", 8, budget=0.5)
START = {
    "event": "start",
    "model": "dit-digits",
    "conditions": {"device_name": "x", "batch": 1},
    "metrics": {"macs": 5, "params": 3},
}
PROGRESS = {"event": "progress", "phase": "measuring", "seconds": 0.1, "median": 0.5}
DONE = {
    "event": "done",
    "model": "dit-digits",
    "conditions": {"device_name": "x", "batch": 1},
    "metrics": {"seconds": 0.5, "images_per_second": 2.0},
    "samples": {"seconds": [0.5]},
    "details": {"stopped": "interval"},
    "doubts": [{"kind": "load", "seen": "a", "advice": "b"}],
    "environment": {"torch": "2"},
}


def child(*events: dict[str, object], first: str = "", then: str = "") -> parent.Command:
    lines = "\n".join(json.dumps(event) for event in events)
    script = f"import os, signal, sys, time\n{first}\nprint({lines!r}, flush=True)\n{then}"
    return (sys.executable, "-c", script)


def measure(command: parent.Command, row: Row = ROW) -> parent.Record:
    return parent.measure(row, lambda *_: None, command)


def test_a_good_child_makes_a_record() -> None:
    said: list[tuple[object, ...]] = []
    record = parent.measure(ROW, lambda *words: said.append(words), child(START, PROGRESS, DONE))
    assert (record.command, record.model, record.metrics["seconds"]) == ("bench", "dit-digits", 0.5)
    assert record.samples == {"seconds": [0.5]}
    assert record.details == {"row": ROW.key, "stopped": "interval", "doubts": DONE["doubts"]}
    assert record.warnings == ("A: b.",)
    assert said == [("measuring", 0.1, 0.5)]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            child(START, {"event": "too big", "doubt": {"kind": "memory", "seen": "out of memory", "advice": "9 GB"}}),
            "Out of memory: 9 GB",
        ),
        (
            child(START, then="os.kill(os.getpid(), signal.SIGKILL)"),
            "The system ended it, as it does where memory runs out: give a smaller",
        ),
    ],
)
def test_a_row_without_memory_is_a_record_that_says_so(command: parent.Command, words: str) -> None:
    record = measure(command)
    assert words in record.warnings[0]
    assert record.metrics["seconds"] is None
    assert record.metrics["images_per_second"] is None
    assert (record.metrics["macs"], record.metrics["params"]) == (5, 3)
    assert record.conditions["device_name"] == "x"


def test_a_row_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "START", 0.5)
    monkeypatch.setattr(parent, "PATIENCE", 0)
    assert "It was stopped after 0 s" in measure(child(START, then="time.sleep(60)")).warnings[0]


def test_a_failing_child_is_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"^dit-digits 8 px batch 1 fp32: no such thing$"):
        measure(child({"event": "error", "words": "no such thing", "code": 2}))
    with pytest.raises(DimbenchError, match="failed: ValueError: odd; run it alone"):
        measure(child(START, then="raise ValueError('odd')"))
    with pytest.raises(DimbenchError, match="it ended with code 3"):
        measure(child(START, then="sys.exit(3)"))


def test_an_interruption_leaves_no_child(tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    first = f"open({str(note)!r}, 'w').write(str(os.getpid()))"
    with pytest.raises(KeyboardInterrupt):
        parent.measure(ROW, interrupt, child(START, PROGRESS, first=first, then="time.sleep(60)"))
    assert not _alive(int(note.read_text()))


def test_the_first_row_goes_to_the_child_that_was_started_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "CHILD", child({**DONE, "details": {}}, first="sys.stdin.readline()"))
    with parent.ahead():
        (started,) = parent._spares
        for _ in range(2):  # the second gets one of its own
            assert parent.measure(ROW, lambda *_: None, parent.CHILD).metrics["seconds"] == 0.5
            assert not parent._spares
        assert started.process.returncode is not None


def test_a_child_started_ahead_of_a_row_that_is_refused_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "CHILD", child(then="time.sleep(60)"))

    def refused() -> None:
        with parent.ahead():
            started.extend(parent._spares)
            raise UsageError("no such row")

    started: list[parent._Child] = []
    with pytest.raises(UsageError):
        refused()
    assert started[0].process.returncode is not None


def test_a_child_leaves_with_its_parent() -> None:
    reading, writing = os.pipe()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", "import sys; from dimbench.bench import child; child._leave_with_parent()"],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0), (os.POSIX_SPAWN_CLOSE, writing)],
    )
    os.close(reading)
    os.close(writing)
    assert os.waitpid(pid, 0)[1] == 256  # exit code 1


def _alive(pid: int) -> bool:
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.02)
    return True


def test_a_failure_is_of_the_row_that_was_asked_for() -> None:
    with pytest.raises(DimbenchError, match=r"^dit-digits 8 px batch best fp32: no such thing$"):
        measure(child({"event": "error", "words": "no such thing", "code": 1}), Row("dit-digits", 8, batch="best"))


def test_the_best_batch_is_searched_in_children_and_then_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[int, float, bool]] = []

    def run(row: Row, *_: object, **__: object) -> parent.Record:
        assert isinstance(row.batch, int)
        ran.append((row.batch, row.budget, row.compile))
        speed = {1: 1.0, 2: 3.0}.get(row.batch, 2.0)
        return parent.Record("bench", row.model, {}, {"images_per_second": speed}, details={"memory_share": 0.1})

    monkeypatch.setattr(parent, "_run", run)
    record = measure(child(), Row("dit-digits", 8, batch="best", compile=True, budget=60.0))
    assert ran == [*((batch, 2.0, False) for batch in (1, 2, 4, 8, 2, 2)), (2, 60.0, True)]
    assert record.details["row"]["batch"] == "best"
    assert [trial["batch"] for trial in record.details["trials"]] == [1, 2, 4, 8, 2, 2]
