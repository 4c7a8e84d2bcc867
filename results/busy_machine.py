"""How long drawing takes where another program has a core: `fid` as it is, whose waiting threads sleep early, beside
the same with the number of looks that GNU's OpenMP gives them, in turns, alone and beside one busy process.

Run from the root of the checkout: python results/busy_machine.py [--rounds N]. It appends a record for each to
results/busy-machine.jsonl.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from dimbench import stats as series
from dimbench.bench.alternating import alternate, ratios
from dimbench.results import Record, append

WORDS = ("fid", "udit-digits", "--num-images", "500", "--steps", "10")
OPENMPS = {"GOMP_SPINCOUNT": "300000"}  # libgomp's own, where OMP_WAIT_POLICY says nothing
BUSY = "while True: pass"
ALONE = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}


def measured(folder: Path, busy: int, rounds: int) -> Record:
    """Beside so many busy processes."""
    seeds = count()

    def draw(**variables: str) -> None:
        words = (*WORDS, "--seed", str(next(seeds)), "--out", os.devnull)
        environment = {**ALONE, **variables, "DIMBENCH_CACHE": str(folder / str(busy))}
        subprocess.run([sys.executable, "-m", "dimbench", *words], env=environment, check=True, capture_output=True)

    load = os.getloadavg()[0]
    with ExitStack() as stack:
        for _ in range(busy):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(process.kill)
        seconds = alternate({"ours": draw, "openmp": lambda: draw(**OPENMPS)}, rounds)
    beside = ratios(seconds["ours"], seconds["openmp"])
    low, high = series.median_interval(beside) or (None, None)
    metrics = {
        "seconds": series.median(seconds["ours"]), "seconds_openmp": series.median(seconds["openmp"]),
        "seconds_openmp_most": max(seconds["openmp"]), "ratio": series.median(beside), "ratio_low": low,
        "ratio_high": high,
    }  # fmt: skip
    ours, openmps, most = (metrics[name] for name in ("seconds", "seconds_openmp", "seconds_openmp_most"))
    print(f"beside {busy} busy: {ours:.2f} s, by OpenMP's own way {openmps:.2f} s, at most {most:.2f} s")
    conditions = {"words": " ".join(WORDS), "busy": busy, "rounds": rounds, "load": load, **OPENMPS}
    return Record("busy-machine", "udit-digits", conditions, metrics, samples=seconds)


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        records = [measured(Path(folder), busy, rounds) for busy in (0, 1)]
    append(records, Path(__file__).with_name("busy-machine.jsonl"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="runs of each; 7")
    main(parser.parse_args().rounds)
