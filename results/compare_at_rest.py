"""How often `dimbench compare` calls one and the same code changed, through real processes.

On a machine at rest, from the root of the checkout: python results/compare_at_rest.py [PAIRS]. It compares dit-digits
with itself PAIRS times (20 if not said), as a user would; run again, it goes on where it stopped. The records go to
results/compare-at-rest.jsonl, the figures to the screen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from dimbench.bench import hardware
from dimbench.results import Record, append, so_far

FILE = Path(__file__).with_name("compare-at-rest.jsonl")
MODEL, BUDGET = "dit-digits", 0.5  # seconds that each process measures
ROUNDS = 3  # that a comparison begins with; it takes up to four times as many


def compared(seed: int) -> Record:
    """One comparison, by its verdict on the seconds."""
    load = hardware.host().load
    words = ["compare", MODEL, "--a", "", "--seed", str(seed), "--budget", f"{BUDGET:g}", "--rounds", str(ROUNDS)]
    words += ["--json", "--out", os.devnull]
    done = subprocess.run([sys.executable, "-m", "dimbench", *words], stdout=subprocess.PIPE, text=True)
    (found,) = (record for record in json.loads(done.stdout) if record["details"]["metric"] == "seconds")
    figures = {name: found["metrics"][name] for name in ("ratio", "low", "high")}
    details = {name: found["details"][name] for name in ("verdict", "confirmed", "rounds")}
    conditions = {"seed": seed, "budget": BUDGET, "rounds": ROUNDS, "device": "cpu"}
    metrics = {**figures, "exit_code": done.returncode, "load": load}
    return Record("compare-at-rest", MODEL, conditions, metrics, details=details)


def main(pairs: int = 20) -> None:
    for seed in range(len(so_far(FILE)), pairs):
        append([compared(seed)], FILE)
    records = so_far(FILE)
    for record in records:
        print(record["conditions"]["seed"], record["metrics"], record["details"])
    print(Counter(record["details"]["verdict"] for record in records))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
