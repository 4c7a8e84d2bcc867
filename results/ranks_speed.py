"""How much faster several ranks are, how long merging their statistics takes, and what each keeps in memory.

Run from the root of the checkout: python results/ranks_speed.py [--rounds N] [--images N]. It appends a record to
results/ranks-speed.jsonl, with the load of the machine after it: figures of a machine that does other work say little.
What two processes that share nothing achieve at once is what the machine allows two ranks.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import torch

from dimbench import stats
from dimbench.quality.statistics import RunningStatistics
from dimbench.results import Record, append

FILE = Path("results/ranks-speed.jsonl")
DIMENSIONS, RANKS = 2048, 64
SPEED_UP, SECONDS, BYTES = 1.9, 1.0, 200e6  # wanted: at least, at most, at most
DRAWN = ("fid", "dit-digits", "--steps", "20", "--batch", "125", "--json")
ALIKE = 1.1  # by how much the memory of a rank may grow when the images are twice as many

# A rank that says the seconds of drawing and evaluating on stderr.
TIMED = """
import sys
from time import perf_counter
from dimbench.cli import main
from dimbench.quality.evaluating import ToDraw
from dimbench.sampling import ranks

measured = ToDraw._measured
def timed(*given):
    ranks.here().wait()
    before = perf_counter()
    found = measured(*given)
    ranks.here().wait()
    print(f"took {perf_counter() - before}", file=sys.stderr, flush=True)
    return found
ToDraw._measured = timed
main()
"""

# A rank that evaluates features of chance, of so many images and 2048 dimensions, which lie in files.
EVALUATED = """
import resource, sys
import torch
from dimbench.quality.evaluate import evaluate
from dimbench.quality.shared_features import summarise_shared
from dimbench.sampling import ranks

class Chance:
    name = sha256 = resize = "chance"
    def features(self, images):
        seed = int(images[0, 0, 0, 0]) + 256 * int(images[0, 0, 0, 1])
        rows = torch.randn(len(images), DIMENSIONS, generator=torch.Generator().manual_seed(seed))
        return {"pool": rows, "logits": rows[:, :16]}

def batches(total, first, here):
    for index in range(here.rank, -(-total // 250), here.world):
        images = torch.zeros(min(250, total - 250 * index), 3, 1, 2, dtype=torch.uint8)
        number = first + index
        images[..., 0], images[..., 1] = number % 256, number // 256
        yield index, images

DIMENSIONS, total = 2048, int(sys.argv[1])
with ranks.joined() as here:
    sets = [summarise_shared(Chance(), batches(total, first, here), total, 250, here) for first in (0, 10_000)]
    found = evaluate(*sets, here)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    every = here.gathered(peak)
    if here.first:
        print(max(every))
"""


def ranks(count: int, script: str, *words: object) -> subprocess.CompletedProcess[str]:
    """So many processes of one thread each that run the script, with a cache of their own."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "rank.py"
        file.write_text(script)
        own = {"OMP_NUM_THREADS": "1", "DIMBENCH_CACHE": place, "DIMBENCH_RESULTS": place, "PYTHONPATH": os.getcwd()}
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        command = [*launcher, str(file), *map(str, words)]
        return subprocess.run(command, env={**os.environ, **own}, check=True, capture_output=True, text=True)


def seconds_of(count: int, images: int) -> float:
    """From the moment all are ready to the figures, of the slowest."""
    said = ranks(count, TIMED, *DRAWN, "--num-images", images).stderr
    return max(map(float, re.findall(r"took ([\d.]+)", said)))  # two ranks may write into one line


def at_once(images: int) -> float:
    """Seconds of the slower of two such processes that know nothing of each other."""
    with ThreadPoolExecutor(2) as both:
        return max(both.map(seconds_of, (1, 1), (images, images)))


def merging() -> tuple[float, float]:
    """Seconds and bytes beyond the first that the sums of 64 ranks take, which come one after the other."""
    features = torch.randn(64, DIMENSIONS, generator=torch.Generator().manual_seed(0))
    part = RunningStatistics(DIMENSIONS)
    part.update(features)
    whole = RunningStatistics(DIMENSIONS)
    started = perf_counter()
    for _ in range(RANKS):
        whole.merge(part)
    took = perf_counter() - started
    return took, 8.0 * sum(each.scatter.numel() + each.mean.numel() for each in (whole, part))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--large", type=int, default=50_000)
    given = parser.parse_args()
    rounds = [
        (seconds_of(1, given.images), seconds_of(2, given.images), at_once(given.images)) for _ in range(given.rounds)
    ]
    speed_up = stats.summarise([alone / both for alone, both, _ in rounds])
    allowed = stats.summarise([2 * alone / apart for alone, _, apart in rounds])
    took, held = merging()
    peaks = {n: int(ranks(2, EVALUATED, n).stdout) for n in (given.large // 2, given.large)}
    small, large = peaks.values()
    metrics = {
        "speed_up_of_two_ranks": speed_up.median,
        "speed_up_of_two_processes_apart": allowed.median,
        "merge_seconds": took,
        "merge_bytes": held,
        **{f"rank_bytes_of_{n}_images": peak for n, peak in peaks.items()},
    }
    load = os.getloadavg()[0]
    met = {
        "two ranks": speed_up.median >= SPEED_UP,
        "merging": took <= SECONDS and held <= BYTES,
        "memory": large <= ALIKE * small,
    }
    samples = dict(zip(("alone", "two", "apart"), map(list, zip(*rounds, strict=True)), strict=True))
    conditions = {"images": given.images, "steps": 20, "threads": 1, "cpus": os.cpu_count(), "load_after": load}
    append([Record("ranks-speed", "dit-digits", conditions, metrics, samples=samples, details={"met": met})], FILE)
    print(json.dumps({**metrics, "load": load, "met": met}, indent=2))


if __name__ == "__main__":
    main()
