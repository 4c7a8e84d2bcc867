"""How long whole networks take beside a DiT of their size, and what share of it the scan has: forwards of one image of
256 px in float32 on two threads, taking turns in one process.

Run from the root of the checkout: python results/model_speed.py [--rounds N] [--official FOLDER]; FOLDER is a clone of
facebookresearch/DiT, whose module needs timm. It appends one record per comparison to results/model-speed.jsonl.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from dimbench import backbone, presets
from dimbench import stats as series
from dimbench.bench.alternating import alternate, ratios
from dimbench.kernels import backends
from dimbench.results import Record, append
from tests import example

THREADS = 2
# base -> network: the most times as long it should take
TARGETS = {"dit-l2": {"dimsum-l2": 1.3, "dim-l2": 1.85}, "dit-b2": {"udit-b": 1.1}}
OFFICIAL = ("dit-b2", "DiT-B/2")  # ours should take at most as long
SCANNING = {"dimsum-l2": 0.15, "dim-l2": 0.15}  # the largest share the scan should have

Call = Callable[[], object]


def network(name: str) -> Call:
    """One forward pass of the network as it runs at inference."""
    preset = presets.find(name)
    model = example.of(preset).running(backbone.create_model(name))
    inputs = example.inputs(model, 1)
    return lambda: model(**inputs)


def official(folder: Path) -> Call:
    """One forward pass of the authors' own module."""
    sys.path.insert(0, str(folder))
    import models  # type: ignore[import-not-found]

    model = models.DiT_models[OFFICIAL[1]]().eval()
    x, t, y = torch.randn(1, 4, 32, 32), torch.tensor([500]), torch.tensor([1])
    return lambda: model(x, t, y)


def compare(calls: dict[str, Call], base: str, targets: dict[str, float], rounds: int) -> list[Record]:
    with backends.watch() as kernels:
        seconds = alternate(
            calls, rounds, on_round=lambda k: print(f"\r{base}: {k + 1}/{rounds}", end="", file=sys.stderr)
        )
    print(file=sys.stderr)
    records = []
    for name, target in targets.items():
        beside = ratios(seconds[name], seconds[base])
        low, high = series.median_interval(beside) or (None, None)
        metrics = {
            "seconds": series.median(seconds[name]),
            "seconds_base": series.median(seconds[base]),
            "ratio": series.median(beside),
            "ratio_low": low,
            "ratio_high": high,
            "target": target,
        }
        here = {"base": base, "resolution": 256, "batch": 1, "dtype": "fp32", "threads": THREADS, "rounds": rounds}
        samples = {"seconds": seconds[name], "seconds_base": seconds[base]}
        records.append(Record("model-speed", name, {**here, "kernels": kernels}, metrics, samples=samples))
        print(f"{name} / {base}: {metrics['ratio']:.3f} ({low} to {high}), at most {target}")
    return records


def scan_share(name: str, call: Call, target: float) -> Record:
    """The scan's part of three forward passes, from torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(3):
            call()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    share = sum(e.self_cpu_time_total for e in events if e.key == "dimbench::selective_scan") / total
    print(f"{name}: scan {share:.1%} of its time, at most {target:.0%}")
    here = {"resolution": 256, "batch": 1, "dtype": "fp32", "threads": THREADS}
    return Record("scan-share", name, here, {"share": share, "target": target})


@torch.inference_mode()
def main(rounds: int, folder: Path | None) -> None:
    torch.set_num_threads(THREADS)
    records = []
    for base, targets in TARGETS.items():
        calls = {name: network(name) for name in (base, *targets)}
        records += compare(calls, base, targets, rounds)
        records += [scan_share(name, calls[name], SCANNING[name]) for name in targets if name in SCANNING]
    if folder:
        base = f"official {OFFICIAL[1]}"
        records += compare(
            {base: official(folder), OFFICIAL[0]: network(OFFICIAL[0])}, base, {OFFICIAL[0]: 1.0}, rounds
        )
    append(records, Path(__file__).with_name("model-speed.jsonl"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, help="forwards of each network; 25")
    parser.add_argument("--official", type=Path, help="clone of facebookresearch/DiT")
    options = parser.parse_args()
    main(options.rounds, options.official)
