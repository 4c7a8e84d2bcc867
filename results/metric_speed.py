"""How long the metrics take beside torch-fidelity's and numpy's, and products by oneDNN beside torch's, in turns in one
process on two threads, and the memory that precision and recall of two large sets add.

Run from the root of the checkout: python results/metric_speed.py [--rounds N] [--large N] [--only NAME]; N rounds of
each pair, or of one alone, and two sets of N images for the memory (50,000 take 0.8 GB of features and some minutes).
It appends a record for each to results/metric-speed.jsonl.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch_fidelity.metric_fid import fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import calculate_precision_recall_full

from dimbench import processor, stats
from dimbench.bench.alternating import alternate, ratios
from dimbench.kernels import onednn
from dimbench.quality.frechet import frechet_distance
from dimbench.quality.kid import kernel_distance
from dimbench.quality.precision_recall import precision_recall
from dimbench.quality.statistics import Statistics, statistics_of
from dimbench.results import Record, append

THREADS = 2
DIMENSIONS = 2048

Pair = tuple[Callable[[], object], Callable[[], object]]


def features(n: int, spread: float, seed: int) -> Tensor:
    """Features of 64 directions and some noise, not negative, as Inception's are."""
    directions = torch.randn(64, DIMENSIONS, generator=torch.Generator().manual_seed(0)) / 8
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for rows in torch.arange(n).split(1000):
        hidden = spread * torch.randn(len(rows), 64, generator=generator) @ directions
        parts.append((hidden + 0.3 * torch.randn(hidden.shape, generator=generator)).relu())
    return torch.cat(parts)


def pairs() -> dict[str, tuple[Pair, float]]:
    """Ours and theirs of each metric, and how many times as long ours should take at most."""
    a, b = features(10_000, 1.0, 1), features(10_000, 0.95, 2)

    def frechet(first: Statistics, second: Statistics) -> Pair:
        theirs = [{"mu": each.mu.numpy(), "sigma": each.sigma.numpy()} for each in (first, second)]
        return lambda: frechet_distance(first, second), lambda: fid_statistics_to_metric(*theirs, False)

    kid = {"kid_subsets": 20, "kid_subset_size": 1000, "verbose": False}
    ours = lambda: kernel_distance(a, b, 1000, 20)  # noqa: E731
    few, fewer = (a[:8000], b[:8000]), (a[:1024], b[:1024])
    return {
        "Frechet distance": (frechet(statistics_of(a), statistics_of(b)), 0.45),
        "Frechet distance, singular": (frechet(statistics_of(a[:1000]), statistics_of(b)), 0.45),
        "statistics of 10,000": ((lambda: statistics_of(a), lambda: np.cov(a.numpy(), rowvar=False)), 1.0),
        "KID beside float32": ((ours, lambda: kid_features_to_metric(a, b, **kid)), 1.0),
        "KID beside float64": ((ours, lambda: kid_features_to_metric(a.double(), b.double(), **kid)), 1.0),
        "precision and recall of 8,000": (
            (lambda: precision_recall(*few), lambda: calculate_precision_recall_full(*few)),
            0.5,
        ),
        "products in float32 beside torch's": ((lambda: onednn.product(*fewer), lambda: fewer[0] @ fewer[1].T), 1.0),
        "modulations of one image beside torch's": (modulations(1), 1.0),
        "modulations of two images beside torch's": (modulations(2), 1.0),
    }


def modulations(images: int) -> Pair:
    """All those of DiT-L/2: weights of 604 MB, each read for so many rows."""
    weights, rows = torch.randn(24, 6 * 1024, 1024), torch.randn(images, 1024)
    return (
        lambda: [onednn.linear_of_few_rows(rows, weight) for weight in weights],
        lambda: [functional.linear(rows, weight) for weight in weights],
    )


def beside(name: str, pair: Pair, target: float, rounds: int) -> Record:
    seconds = alternate(dict(zip(("ours", "theirs"), pair, strict=True)), rounds)
    times = ratios(seconds["ours"], seconds["theirs"])
    low, high = stats.median_interval(times) or (None, None)
    metrics = {
        "seconds": stats.median(seconds["ours"]), "seconds_base": stats.median(seconds["theirs"]),
        "ratio": stats.median(times), "ratio_low": low, "ratio_high": high, "target": target,
    }  # fmt: skip
    print(f"{name}: {metrics['ratio']:.3f} ({low} to {high}), at most {target}", file=sys.stderr)
    conditions = {"threads": THREADS, "dimensions": DIMENSIONS, "rounds": rounds}
    samples = {"seconds": seconds["ours"], "seconds_base": seconds["theirs"]}
    return Record("metric-speed", name, conditions, metrics, samples=samples)


def large(n: int) -> Record:
    """Precision and recall of n against n images: seconds, and what they add to the process's peak memory."""
    a, b = features(n, 1.0, 1), features(n, 0.95, 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = perf_counter()
    precision_recall(a, b)
    metrics = {
        "seconds": perf_counter() - started,
        "bytes_added": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024,
        "bytes_of_features": a.nbytes + b.nbytes,
    }
    print(f"{n:,} images: {metrics}", file=sys.stderr)
    return Record("metric-speed", f"precision and recall of {n:,}", {"threads": THREADS}, metrics)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--large", type=int, help="images in each of two sets")
    parser.add_argument("--only", metavar="NAME", help="one pair, by its name")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    processor.keep_memory()
    records = [large(options.large)] if options.large else []  # first, while the peak is its own
    records += [
        beside(name, pair, target, options.rounds)
        for name, (pair, target) in pairs().items()
        if options.only in (None, name)
    ]
    append(records, Path(__file__).with_name("metric-speed.jsonl"))
