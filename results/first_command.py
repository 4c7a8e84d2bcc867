"""How long the README's first command takes once dimbench is installed: what DiMSUM-L/2 costs, then the FID of 1,000
digits.

Run from the root of the checkout: python results/first_command.py [--rounds N]. It appends a record to
results/first-command.jsonl.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from dimbench import stats as series
from dimbench.results import Record, append

COMMANDS = (("flops", "dimsum-l2"), ("fid", "dit-digits", "--steps", "50"))
WANTED = 12.0  # seconds


def once(place: Path) -> float:
    """Seconds of both, with caches and results in `place`."""
    environment = {**os.environ, "DIMBENCH_CACHE": str(place), "DIMBENCH_RESULTS": str(place)}
    started = perf_counter()
    for words in COMMANDS:
        subprocess.run([sys.executable, "-m", "dimbench", *words], env=environment, check=True, capture_output=True)
    return perf_counter() - started


def main(rounds: int) -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled once, not in each process
    load, seconds = os.getloadavg()[0], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as place:  # a new one each time, for images are drawn once
            seconds.append(once(Path(place)))
    low, high = series.median_interval(seconds) or (None, None)
    metrics = {"seconds": series.median(seconds), "seconds_low": low, "seconds_high": high, "target": WANTED}
    print(f"{metrics['seconds']:.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), wanted at most {WANTED:.0f}")
    conditions = {"words": " && ".join(" ".join(words) for words in COMMANDS), "rounds": rounds, "load": load}
    record = Record("first-command", "dit-digits", conditions, metrics, samples={"seconds": seconds})
    append([record], Path(__file__).with_name("first-command.jsonl"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="runs of both; 7")
    main(parser.parse_args().rounds)
