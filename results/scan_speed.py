"""The selective scan in C++ on one thread: how near it comes to what the processor computes in registers, whether
longer scans take more per token, and its backward pass by its forward pass.

Run from the root of the checkout: python results/scan_speed.py [--rounds N]. One image, 1,024 channels, 16 states and
a gate in float32; all lengths and registers.cpp, which reads and writes nothing, take turns in one process. It appends
one record per length to results/scan-speed.jsonl.
"""

from __future__ import annotations

import argparse
import ctypes
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from dimbench import processor
from dimbench import stats as series
from dimbench.bench.alternating import alternate, ratios
from dimbench.kernels import backends, native
from dimbench.results import Record, append

LENGTHS = (256, 1024, 4096, 16384)
CHANNELS, STATES = 1024, 16
# The least share of the registers' rate, the most of the time per token by that of the fastest length, and the most of
# the backward pass by the forward pass.
SHARE, FLAT, BACKWARD = 0.8, 1.08, 2.5

Call = Callable[[], object]


def passes(length: int) -> tuple[Call, Call]:
    """A forward pass, and a backward one through an output that was made before."""
    scan = backends.operators()["selective_scan"]
    example = scan.example(backends.Size(1, length, CHANNELS, STATES))
    leaves = [each.detach().requires_grad_() for each in example.inputs]
    y = example.run(*leaves)
    grad = torch.randn_like(y)
    return (
        torch.no_grad()(partial(example.run, *example.inputs)),
        lambda: torch.autograd.grad(y, leaves, grad, retain_graph=True),
    )


def in_registers() -> tuple[Call, int]:
    """As many elements as the shortest scan has, and how many they are."""
    library = native.load(Path(__file__).with_name("registers.cpp"))
    run, each = library.in_registers, library.in_registers_elements()
    run.argtypes, run.restype = [ctypes.c_int64, ctypes.c_float, ctypes.c_float], ctypes.c_float
    positions = LENGTHS[0] * CHANNELS * STATES // each
    return lambda: run(positions, 0.05, 1e-6), positions * each


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    processor.keep_memory()
    registers, elements = in_registers()
    calls: dict[str, Call] = {"registers": registers}
    for length in LENGTHS:
        calls[f"forward {length}"], calls[f"backward {length}"] = passes(length)
    with backends.use("cpu"):
        seconds = alternate(calls, rounds)

    tokens = {length: [total / length for total in seconds[f"forward {length}"]] for length in LENGTHS}
    shortest = min(tokens.values(), key=series.median)
    peak = [each / elements for each in seconds["registers"]]
    records = []
    for length, token in tokens.items():
        found = {
            "share": ratios([CHANNELS * STATES * each for each in peak], token),
            "flatness": ratios(token, shortest),
            "backward": ratios(seconds[f"backward {length}"], seconds[f"forward {length}"]),
        }
        metrics: dict[str, float | None] = {"seconds_per_token": series.median(token)}
        for name, values in found.items():
            low, high = series.median_interval(values) or (None, None)
            metrics |= {name: series.median(values), f"{name}_low": low, f"{name}_high": high}
        conditions = {"length": length, "channels": CHANNELS, "states": STATES, "dtype": "fp32", "threads": 1,
                      "rounds": rounds}  # fmt: skip
        samples = {"seconds": seconds[f"forward {length}"], "seconds_backward": seconds[f"backward {length}"],
                   "seconds_registers": seconds["registers"]}  # fmt: skip
        records.append(Record("scan-speed", "selective_scan", conditions, metrics, samples=samples))
        print(f"L {length}: {1e6 * series.median(token):.2f} us a token, "
              f"{metrics['share']:.0%} of the registers' rate (at least {SHARE:.0%}), "
              f"{metrics['flatness']:.3f} of the fastest length (at most {FLAT}), "
              f"backward {metrics['backward']:.2f} of forward (at most {BACKWARD})")  # fmt: skip
    append(records, Path(__file__).with_name("scan-speed.jsonl"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, help="runs of each; 25")
    main(parser.parse_args().rounds)
