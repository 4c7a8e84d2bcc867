"""MIND: how far sorted projections of features lie apart, which needs fewer images than FID."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dimbench.quality.checks import checked_pair
from dimbench.quality.feature_rows import AT_ONCE, Table
from dimbench.sampling.ranks import ALONE, Ranks

DIRECTIONS, SEED = 1000, 2020  # as torch-fidelity has them
TOGETHER = 250  # directions at once, of many features fewer
PROJECTIONS = 2_500_000  # of features on directions, held at once


def monge_distance(generated: Table, reference: Table, here: Ranks = ALONE) -> float:
    """3 D times the squared sliced 2-Wasserstein distance of features (N, D) and (M, D), over 1000 random directions;
    of the larger set as many are drawn as the smaller has. Berthet et al. 2026 (arXiv 2605.06797). The ranks `here`
    share out the directions. Raises as checked_pair does."""
    generated, reference = checked_pair(generated, reference)
    generator = torch.Generator().manual_seed(SEED)
    n = min(len(generated), len(reference))
    x, y = (
        each if len(each) == n else each[torch.randperm(len(each), generator=generator)[:n]]
        for each in (generated, reference)
    )
    directions = normalize(torch.randn(DIRECTIONS, x.shape[1], generator=generator), dim=1)
    apart = torch.zeros(DIRECTIONS, dtype=torch.float64)
    together = max(1, min(TOGETHER, PROJECTIONS // n))
    for start in here.share(range(0, DIRECTIONS, together)):
        some = slice(start, start + together)
        apart[some] = (_along(directions[some], x) - _along(directions[some], y)).square().mean(dim=0)
    here.total(apart)
    return 3 * x.shape[1] * apart.mean().item()


def _along(directions: Tensor, features: Table) -> Tensor:
    """(N, k) in float64: the projections on each direction, sorted."""
    onto = directions.T.to(features.dtype)
    return torch.cat([rows @ onto for rows in features.split(AT_ONCE)]).double().sort(dim=0).values
