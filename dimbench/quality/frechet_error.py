"""What a Frechet distance of so many images can tell: how far another draw of them would move it, and where it goes
with ever more of them. The reference is taken as it is."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean

import torch

from dimbench.quality.feature_rows import Table
from dimbench.quality.frechet import PivotedRoot, frechet_distance
from dimbench.quality.statistics import RunningStatistics, Statistics

ROWS = 4096  # of features at once
FEWEST = 4  # images per dimension; below it neither was seen to hold: results/fid_interval_coverage.py
PARTS = 4
SEED = 0  # of the partition


def standard_error(features: Table, generated: Statistics, reference: Statistics) -> float:
    """The standard deviation of the distance over draws of as many images, by the delta method.

    To first order an image x, with c = x - mu_A, moves the distance by 2 c.(mu_A - mu_B) + |c|^2 - c^T T c over the
    number of images, where T = R^-T (R^T B R)^(1/2) R^-1 with A = R R^T transports A to B. `features` (N, D) are those
    of `generated`. One eigendecomposition and a product of N D^2.
    """
    root = PivotedRoot.of(generated.sigma)
    rank = root.factor.shape[1]
    whole = root.full
    values, vectors = torch.linalg.eigh(whole.T @ reference.sigma @ whole)
    turned = vectors * values.clamp(min=0).pow(0.25)
    weights = torch.linalg.solve_triangular(root.factor[:rank].T, turned, upper=True)
    shift = 2 * (generated.mu - reference.mu)
    moved = []
    for rows in features.split(ROWS):
        centred = rows.double() - generated.mu
        transported = centred[:, root.pivots[:rank]] @ weights
        moved.append(centred @ shift + centred.square().sum(dim=1) - transported.square().sum(dim=1))
    return (torch.cat(moved).std() / len(features) ** 0.5).item()


def of_infinitely_many(features: Table, reference: Statistics, distance: float) -> float:
    """The distance of infinitely many images, from that of the whole set, its halves and its quarters.

    The bias falls with the number of images (Chong and Forsyth 2020, section 3); the parabola through the means over
    parts is read where the number of parts is 0. Random quarters, for images may lie in the order of their labels, and
    all six halves that two of them make: then `standard_error` holds for this figure too. Ten distances.
    """
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(SEED))
    quarters = []
    for rows in order.chunk(PARTS):
        quarters.append(RunningStatistics(features.shape[1]))
        for part in rows.split(ROWS):
            quarters[-1].update(features[part])
    quarter = fmean(frechet_distance(each.result(), reference) for each in quarters)
    half = fmean(frechet_distance(_both(*pair), reference) for pair in combinations(quarters, 2))
    return (8 * distance - 6 * half + quarter) / 3


def _both(first: RunningStatistics, second: RunningStatistics) -> Statistics:
    joined = RunningStatistics(len(first.mean))
    joined.merge(first)
    joined.merge(second)
    return joined.result()
