"""What a sweep and a comparison lose when they are killed.

Run from the root of the checkout: python results/crash_resume.py [KILLS [COMMAND]]. Each is killed by SIGKILL at random
moments and started again until it ends, over and over until there were KILLS kills (20 if not said). What was finished
before a kill has to be there after it, to the byte, and what ends has to have the records of a run that nobody
disturbed. They go to results/crash-resume.jsonl.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dimbench.results import Record, append, read
from tests.commands.processes import start

FILE = Path(__file__).with_name("crash-resume.jsonl")
ROUNDS = 4  # that a comparison begins with
MOMENTS = (1.0, 30.0)  # seconds after the start
COMMANDS: dict[str, tuple[object, ...]] = {
    "sweep": ("sweep", "batch", "--model", "dit-digits", "--shard", "1/2", "--budget", 0.2),
    "compare": ("compare", "dit-digits", "--a", "", "--rounds", ROUNDS, "--budget", 0.2, "--fail-if", "macs"),
}


def finished(folder: Path) -> bytes:
    """The whole lines of all that the command keeps: records, or rounds until they are records."""
    files = [folder / "records.jsonl", *(folder / "rounds").glob("*.jsonl")]
    return b"".join(file.read_bytes().rpartition(b"\n")[0] for file in files if file.exists())


def outcome(folder: Path) -> Counter[str]:
    """What the records are of, and whether each is whole: all that two runs have in common. How many rounds a
    comparison takes depends on what it measures: those that it begins with, twice or four times as many."""
    return Counter(
        f"{r['model']} {r['conditions']} {r['details'].get('metric')} {_is_whole(r)}"
        for r in read(folder / "records.jsonl")
    )


def _is_whole(record: dict[str, Any]) -> bool:
    rounds = record["details"].get("rounds")
    if rounds is None:
        return bool(record["samples"]["seconds"])
    return rounds in (ROUNDS, 2 * ROUNDS, 4 * ROUNDS) and {len(s) for s in record["samples"].values()} == {rounds}


def main(kills: int = 20, commands: Sequence[str] = tuple(COMMANDS)) -> None:
    lot = random.Random(0)
    for command in commands:
        words = COMMANDS[command]
        with tempfile.TemporaryDirectory() as whole:
            start(Path(whole), *words).communicate()
            expected = outcome(Path(whole))
        killed = kept = ended = equal = 0
        while killed < kills:
            with tempfile.TemporaryDirectory() as folder:
                while True:
                    before, process = finished(Path(folder)), start(Path(folder), *words)
                    try:
                        process.communicate(timeout=lot.uniform(*MOMENTS))
                        break
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.communicate()
                        killed += 1
                        kept += finished(Path(folder)).startswith(before)
                ended += 1
                equal += process.returncode == 0 and outcome(Path(folder)) == expected
        metrics = {"kills": killed, "kept": kept, "ended": ended, "equal": equal}
        append([Record("crash-resume", command, {"words": " ".join(map(str, words))}, metrics)], FILE)
        print(command, metrics, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *([sys.argv[2:]] if sys.argv[2:] else []))
