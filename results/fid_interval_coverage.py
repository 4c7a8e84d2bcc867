"""How often the intervals that `dimbench fid` gives hold what they are of, on distributions that are known.

Run from the root of the checkout: python results/fid_interval_coverage.py [--series N]. The interval of FID is of
the mean over all draws of as many images, which the series themselves give; that of infinitely many of the distance in
closed form. Features are Gaussian, but for those of Student's t. The records go to results/fid-interval-coverage.jsonl.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from dimbench.quality.frechet import frechet_distance
from dimbench.quality.frechet_error import of_infinitely_many, standard_error
from dimbench.quality.statistics import Statistics, statistics_of
from dimbench.report.tables import Table
from dimbench.results import Record, append
from dimbench.stats import NORMAL

FILE = Path(__file__).with_name("fid-interval-coverage.jsonl")
SIZES = ((16, 1000), (64, 256), (64, 512), (64, 1000), (64, 4000), (256, 2048))  # dimensions, images
FREEDOM = 8  # of Student's t: its fourth moments are 1.5 times a Gaussian's


def covariance(dimensions: int, seed: int) -> Tensor:
    """One whose variances fall over three decades, as those of networks' features do."""
    basis, _ = torch.linalg.qr(torch.randn(dimensions, dimensions, dtype=torch.float64, generator=lot(seed)))
    return basis * torch.logspace(0, -3, dimensions, dtype=torch.float64) @ basis.T


def lot(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def truths(dimensions: int) -> dict[str, tuple[Statistics, Statistics]]:
    """Generated and reference, by what tells them apart."""
    sigma, mu = covariance(dimensions, 0), torch.zeros(dimensions, dtype=torch.float64)
    reference = Statistics(mu, sigma, None)
    shift = 0.3 * torch.linalg.cholesky(sigma) @ torch.randn(dimensions, dtype=torch.float64, generator=lot(1))
    return {
        "nothing": (reference, reference),
        "the mean": (Statistics(shift, sigma, None), reference),
        "the spread": (Statistics(mu, 0.7 * sigma, None), reference),
        "the directions": (Statistics(mu, covariance(dimensions, 2), None), reference),
        "a little of all": (Statistics(shift / 3, 0.9 * sigma + 0.05 * covariance(dimensions, 2), None), reference),
    }


def gaussian(n: int, truth: Statistics, generator: torch.Generator) -> Tensor:
    root = torch.linalg.cholesky(truth.sigma)
    return truth.mu + torch.randn(n, len(root), dtype=torch.float64, generator=generator) @ root.T


def student(n: int, truth: Statistics, generator: torch.Generator) -> Tensor:
    """Of the same mean and covariance."""
    squares = torch.randn(n, FREEDOM, dtype=torch.float64, generator=generator).square().sum(dim=1, keepdim=True)
    near = gaussian(n, Statistics(0 * truth.mu, truth.sigma, None), generator)
    return truth.mu + near * ((FREEDOM - 2) / squares).sqrt()


Draw = Callable[[int, Statistics, torch.Generator], Tensor]


def coverage(draw: Draw, pair: tuple[Statistics, Statistics], n: int, series: int) -> dict[str, float]:
    """The shares of intervals that hold, the distance in closed form, the means of what is given, and what the standard
    error is of: the deviation of FID over the series."""
    generator, (truth, reference) = lot(3), pair
    found = []
    for _ in range(series):
        features = draw(n, truth, generator)
        seen = statistics_of(features)
        distance = frechet_distance(seen, reference)
        error = standard_error(features, seen, reference)
        found.append((distance, error, of_infinitely_many(features, reference, distance)))
    distances, errors, ends = torch.tensor(found, dtype=torch.float64).T
    exact, half = frechet_distance(truth, reference), NORMAL * errors
    return {
        "held": ((distances - distances.mean()).abs() <= half).double().mean().item(),
        "held_infinity": ((ends - exact).abs() <= half).double().mean().item(),
        "exact": exact,
        "fid": distances.mean().item(),
        "fid_infinity": ends.mean().item(),
        "error": errors.mean().item(),
        "deviation": distances.std().item(),
        "deviation_infinity": ends.std().item(),
    }


def main(series: int) -> None:
    records = []
    for dimensions, n in SIZES:
        for name, draw in (("Gaussian", gaussian), ("Student's t", student)):
            for differ, pair in truths(dimensions).items():
                conditions = {"dimensions": dimensions, "num_images": n, "differ_in": differ, "series": series}
                records.append(Record("fid-interval-coverage", name, conditions, coverage(draw, pair, n, series)))
                print(name, conditions, records[-1].metrics, flush=True)
    append(records, FILE)
    columns = ("features", "dimensions", "images", "they differ in", *records[0].metrics)
    rows = [
        [r.model, *(str(v) for v in list(r.conditions.values())[:3]), *(f"{v:.3g}" for v in r.metrics.values())]
        for r in records
    ]
    Table(columns, rows).show()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=400)
    main(parser.parse_args().series)
