"""How long and how much memory a count takes, beside importing torch alone: pairs, alternating, in fresh processes.

Run from the root of the checkout: python results/count_speed.py [PAIRS]; it appends one record to
results/count-speed.jsonl.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

from dimbench.results import Record, append

COMMANDS = {
    "import torch": ["-c", "import torch"],
    "dimbench flops dit-xl2": ["-m", "dimbench", "flops", "dit-xl2", "--out", os.devnull],
}


def run(words: list[str]) -> tuple[float, int]:
    """Wall seconds and peak resident bytes of one process."""
    started = perf_counter()
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, *words],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit(f"{words} failed")
    return perf_counter() - started, usage.ru_maxrss * 1024


def main(pairs: int) -> None:
    for words in COMMANDS.values():  # files into the page cache
        run(words)
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    peak: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(pairs):
        for name, words in COMMANDS.items():
            spent, resident = run(words)
            seconds[name].append(spent)
            peak[name].append(resident)
    alone, counting = COMMANDS
    ratios = [ours / theirs for ours, theirs in zip(seconds[counting], seconds[alone], strict=True)]
    metrics = {
        "seconds": median(seconds[counting]),
        "seconds_import_torch": median(seconds[alone]),
        "ratio": median(ratios),
        "bytes_above_import_torch": median(peak[counting]) - median(peak[alone]),
    }
    record = Record("count-speed", "dit-xl2", {"pairs": pairs}, metrics, samples=seconds)
    append([record], Path(__file__).with_name("count-speed.jsonl"))
    for name, value in metrics.items():
        print(f"{name}: {value:.4g}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
