"""Runs each row in a child process and makes its record, whatever becomes of the child."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Any

import dimbench
from dimbench import paths
from dimbench.bench import best_batch, doubts
from dimbench.bench.doubts import Doubt, DoubtKind
from dimbench.bench.rows import BEST, Row
from dimbench.errors import DimbenchError, UsageError
from dimbench.results import Record

Command = tuple[str, ...]
OnProgress = Callable[[str, float, float], None]
"""(phase, seconds since its start, median so far)."""

# Its dimbench is this one, and nothing that lies in the current folder comes before what is installed.
_START = """
import sys
root, *path = sys.argv[1:]
sys.path.insert(0, root)
import dimbench
sys.path[:] = [*sys.path[1:], *(place for place in path if place not in sys.path[1:])]
from dimbench.bench.child import main
main()
"""
CHILD: Command = (sys.executable, "-P", "-c", _START, str(Path(dimbench.__file__).parents[1]), *sys.path)
PATIENCE = 10  # budgets that a row may take besides its start
START = 120.0  # seconds for building the network ...
COMPILING = 900.0  # ... and for compiling it, where that is asked for
GRACE = 0.2  # seconds between asking a child to leave and making it
TRIAL_BUDGET = 2.0  # seconds for each batch that the search for the best one tries

_UNMEASURED = ("seconds", "images_per_second", "calls_per_second", "macs_per_second", "mfu", "peak_bytes")


def measure(row: Row, on_progress: OnProgress, command: Command = CHILD) -> Record:
    """The record of a row; one that the memory or the time did not suffice for has None in its metrics and says so in a
    warning. The best batch is that of the network as it is, for each batch would be compiled anew. Raises DimbenchError
    where the child fails for another reason."""
    run = partial(_run, command=command, title=row.title)
    if row.batch != BEST:
        return run(row, on_progress)

    def attempt(batch: int) -> best_batch.Trial:
        one = replace(row, batch=batch, compile=False, budget=min(TRIAL_BUDGET, row.budget))
        record = run(one, lambda _, seconds, median: on_progress(f"trying batch {batch}", seconds, median))
        memory = record.details.get("memory_share") or 0.0
        return best_batch.Trial(batch, record.metrics["images_per_second"], memory)

    chosen, trials = best_batch.search(attempt)
    record = run(replace(row, batch=chosen or 1), on_progress)
    details = {**record.details, "row": row.identity, "trials": [asdict(trial) for trial in trials]}
    return replace(record, details=details)


def _run(row: Row, on_progress: OnProgress, command: Command, title: str) -> Record:
    """The record of a row, which stands for the one called `title`."""
    known: dict[str, Any] = {"model": row.model, "conditions": {**row.key, "device_name": None}, "metrics": {}}
    known["conditions"].pop("model")
    details = {"row": row.identity}
    limit = START + (COMPILING if row.compile else 0.0) + PATIENCE * row.budget
    deadline = monotonic() + limit
    with _child(row, command) as child:
        while True:
            try:
                event = child.events.get(timeout=max(0.0, deadline - monotonic()))
            except queue.Empty:
                seen = f"it was stopped after {limit:.0f} s without an end"
                return unmeasured(row, known, Doubt(DoubtKind.NO_END, seen, "give a longer --budget"))
            match event.pop("event"):
                case "progress":
                    on_progress(event["phase"], event["seconds"], event["median"])
                case "start":
                    known = event
                case "done":
                    found = [Doubt(**doubt) for doubt in event.pop("doubts")]
                    event["details"] = {**details, **event["details"]}
                    return with_doubts(Record("bench", **event), found)
                case "too big":
                    return unmeasured(row, known, Doubt(**event["doubt"]))
                case "error":
                    kind = UsageError if event["code"] == UsageError.exit_code else DimbenchError
                    raise kind(f"{title}: {event['words']}")
                case "end":
                    if child.killed():
                        seen = "the system ended it, as it does where memory runs out"
                        return unmeasured(row, known, doubts.too_big(seen))
                    raise DimbenchError(f"{title} failed: {child.last_words()}; run it alone to see if it repeats")


def unmeasured(row: Row, known: dict[str, Any], why: Doubt) -> Record:
    """The record of a row that there is no time of."""
    metrics = {**dict.fromkeys(_UNMEASURED), **known["metrics"]}
    return with_doubts(
        Record("bench", known["model"], known["conditions"], metrics, details={"row": row.identity}), [why]
    )


def with_doubts(record: Record, found: Sequence[Doubt]) -> Record:
    """The record with the doubts as sentences for those who read it, and as values for what groups them."""
    details = {**record.details, "doubts": [asdict(doubt) for doubt in found]}
    return replace(record, warnings=tuple(map(str, found)), details=details)


class _Child:
    """What runs a row, in a process group of its own; its events, and what it says at its end."""

    def __init__(self, command: Command) -> None:
        self.errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        pipe = subprocess.PIPE
        environment = {**os.environ, "PYTHONHASHSEED": "0", "DIMBENCH_CACHE": str(paths.cache_folder())}
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=self.errors, text=True, env=environment, start_new_session=True
        )
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()

    def tell(self, row: Row) -> None:
        """Which row it is to run."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it ended at once; what it said is read all the same
            os.write(self.process.stdin.fileno(), (json.dumps(asdict(row)) + "\n").encode())
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.put(json.loads(line))
        self.process.wait()
        self.events.put({"event": "end"})

    def killed(self) -> bool:
        return self.process.returncode == -signal.SIGKILL

    def last_words(self) -> str:
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors if line.strip()]
        return lines[-1] if lines else f"it ended with code {self.process.returncode}"


_spares: list[_Child] = []


@contextmanager
def ahead() -> Iterator[None]:
    """Inside, the first row's process starts before its row is known, so that it and this one import torch at once."""
    _spares.append(_Child(CHILD))
    try:
        yield
    finally:
        while _spares:
            _end(_spares.pop())


@contextmanager
def _child(row: Row, command: Command) -> Iterator[_Child]:
    """A child that is told the row; it is gone when the block is left."""
    child = _spares.pop() if command is CHILD and _spares else _Child(command)
    try:
        child.tell(row)
        yield child
    finally:
        _end(child)


def _end(child: _Child) -> None:
    """Ask its whole group to leave, so that a compiler takes its half-written file with it, then make it leave."""
    with suppress(ProcessLookupError):
        os.killpg(child.process.pid, signal.SIGTERM)
        sleep(GRACE)
        os.killpg(child.process.pid, signal.SIGKILL)
    child.process.wait()
    child.errors.close()
