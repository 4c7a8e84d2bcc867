"""Measures one row in a process of its own, as bench.parent starts it.

The row comes as a line of JSON on standard input; when that input closes, its parent is gone, and so is the child.
Events leave as lines of JSON on standard output; whatever else is printed goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from time import perf_counter
from typing import Any

from dimbench import processor
from dimbench.bench.rows import Row
from dimbench.errors import DimbenchError

Send = Callable[..., None]

EVERY = 0.2  # seconds between two words of progress


def main() -> None:
    """Read the row, measure it, send what happens; nothing where no row comes."""
    processor.keep_memory()
    # torch comes with these, while the parent may still be checking the row
    from dimbench.bench import doubts
    from dimbench.bench.measuring import Measuring
    from dimbench.bench.memory import is_out_of_memory

    line = sys.stdin.readline()
    if not line:
        return
    row = Row(**json.loads(line))
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    send = _channel()
    try:
        Measuring(row, send, _rarely(send)).run()
    except DimbenchError as error:
        send("error", words=str(error), code=error.exit_code)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        send("too big", doubt=asdict(doubts.too_big(f"out of memory ({_beginning(error)})")))


def _channel() -> Send:
    """A way to send events that no print of a library can disturb."""
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def send(event: str, **parts: Any) -> None:
        stream.write(json.dumps({"event": event, **parts}) + "\n")
        stream.flush()

    return send


def _rarely(send: Send) -> Callable[[str, float, float], None]:
    """Progress that leaves out what comes too fast."""
    last = 0.0

    def progress(phase: str, seconds: float, median: float) -> None:
        nonlocal last
        if perf_counter() - last > EVERY:
            last = perf_counter()
            send("progress", phase=phase, seconds=seconds, median=median)

    return progress


def _leave_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _beginning(error: Exception) -> str:
    """The first two sentences: what failed and how much it asked for; torch goes on about its allocator."""
    return ". ".join(str(error).split("\n")[0].split(". ")[:2]) or type(error).__name__
