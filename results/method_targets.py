"""Whether what a method leaves out on paper is left out in seconds: sampling runs at 256 px in float32 on two
threads, plain and by the method, taking turns in one process; of one image, or of several where that is said.

Run from the root of the checkout: python results/method_targets.py [--rounds N] [--only METHOD]. It appends one record
per method to results/method-targets.jsonl. `int8` needs the extra `quant`, and is left out without it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from dimbench import backbone, methods, processor, stats
from dimbench.bench import operator_times
from dimbench.bench.alternating import alternate, ratios
from dimbench.diffusion.process import find_process
from dimbench.results import Record, append
from dimbench.sampling.image_cost import image_cost, settings_of
from dimbench.sampling.run import Run
from dimbench.sampling.sample_noise import SampleNoise

THREADS = 2


@dataclass(frozen=True)
class Target:
    """At most `most` times the share of the plain run's multiply-adds; None where it is only told."""

    model: str
    method: str
    steps: int
    cfg: float
    most: float | None
    batch: int = 1


TARGETS = (
    Target("dit-s2", "fora:every=1", 10, 1.0, 1.01),  # nothing is skipped: the wrapping alone
    Target("dit-s2", "fast-attn:plan=f", 10, 1.0, 1.01),
    Target("dit-l2", "fora:every=3", 6, 1.0, 1.08),
    Target("udit-b", "interval:low=300,high=700", 6, 1.5, 1.15),
    Target("udit-b", "deep:every=3", 6, 1.0, 1.15),
    Target("dit-l2", "tome:ratio=0.5", 2, 1.0, 1.15),  # U-DiT's branches are given maps, which are not merged
    Target("dit-l2", "tome:ratio=0.5", 2, 1.0, 1.15, batch=4),
    Target("dit-s2", "int8", 4, 1.0, None),
)


def measured(target: Target, rounds: int) -> Record:
    """The two runs in turn."""
    found = backbone.find(target.model)
    network = found.running(backbone.created(found))
    process, noise = find_process(found.diffusion), SampleNoise(0, range(target.batch))
    runs: dict[str, Callable[[], object]] = {}
    macs = {}
    for name, texts in {"plain": (), "method": (target.method,)}.items():
        how = settings_of(found, None, target.steps, target.cfg, texts)
        macs[name] = image_cost(found, how, decoded=False).macs("macs")
        runs[name] = partial(Run(found, network, process, how), noise)

    def follow(k: int) -> None:
        print(f"\r{target.method}: {k + 1}/{rounds}", end="", file=sys.stderr)

    with torch.inference_mode():
        seconds = alternate(runs, rounds, on_round=follow)
        converts = any(method.converts for method in methods.parse([target.method]))
        operators = operator_times.shares(runs["method"], on_gpu=False) if converts else None
    print(file=sys.stderr)
    share, beside = macs["method"] / macs["plain"], ratios(seconds["method"], seconds["plain"])
    low, high = stats.median_interval(beside) or (None, None)
    metrics = {
        "share_of_plain": share,
        "time_of_plain": stats.median(beside),
        "time_of_plain_low": low,
        "time_of_plain_high": high,
        "time_over_macs": stats.median(beside) / share,
        "target": target.most,
    }
    here = {
        "resolution": 256, "batch": target.batch, "dtype": "fp32", "threads": THREADS, "steps": target.steps,
        "cfg": target.cfg, "rounds": rounds, "methods": [target.method],
    }  # fmt: skip
    print(
        f"{target.method} on {target.model}, batch {target.batch}: {metrics['time_of_plain']:.3f} of the time for "
        f"{share:.3f} of the multiply-adds, {metrics['time_over_macs']:.3f} times as much, at most {target.most}"
    )
    if operators:
        print("its time: " + ", ".join(f"{name} {share:.2f}" for name, share in operators.items()))
    return Record("method-targets", target.model, here, metrics, samples=seconds, details={"operators": operators})


def main(rounds: int, only: str | None) -> None:
    torch.set_num_threads(THREADS)
    processor.keep_memory()
    for target in TARGETS:
        (method,) = methods.parse([target.method])
        if method.absent() or (only and method.name != only):
            continue
        append([measured(target, rounds)], Path(__file__).with_name("method-targets.jsonl"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="runs of each; 15")
    known = sorted({target.method.partition(":")[0] for target in TARGETS})
    parser.add_argument("--only", choices=known, help="one method")
    options = parser.parse_args()
    main(options.rounds, options.only)
