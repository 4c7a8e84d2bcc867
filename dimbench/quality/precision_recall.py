"""Improved precision and recall: how much of one set lies within the other's manifold."""

from __future__ import annotations

import torch
from torch import Tensor

from dimbench.errors import UsageError
from dimbench.kernels import onednn
from dimbench.quality.checks import checked_pair
from dimbench.quality.feature_rows import Table, mean_of
from dimbench.sampling.ranks import ALONE, Ranks

NEIGHBOURS = 3
TILE = 1024  # rows and columns of products held at once
SPARE = 2  # candidates kept beyond the k-th neighbour
GATHERED = 256  # rows whose candidates are read together
ROWS = 64  # rows of distances in float64 held at once: 26 MB against 50,000 images
# |a|^2 + |b|^2 - 2 a.b in float64 is off by about this share of the largest |a|^2; a tie must stay a tie.
ROUNDING = 1e-12
UNIT = 2**-24  # the rounding of float32


def precision_recall(
    generated: Table, reference: Table, k: int = NEIGHBOURS, here: Ranks = ALONE
) -> tuple[float, float]:
    """Precision and recall of features (N, D) against (M, D) (Kynkaanniemi et al. 2019, eq. 1 and 2).

    Around every feature lies a ball that reaches its k-th neighbour in its own set. Precision is the share of
    generated features within a reference ball, recall the share of reference features within a generated one.
    k = 3 as in ADM's evaluator, whose distances are in float16 where that holds them. Here products in float32 decide
    where their error leaves no doubt, and distances in float64 the rest. The ranks `here` share out the rows.
    Raises UsageError for sets of k images or fewer.
    """
    generated, reference = checked_pair(generated, reference)
    if min(len(generated), len(reference)) <= k:
        raise UsageError(
            f"Precision and recall with {k} neighbours need more than {k} images in each set but got "
            f"{len(generated)} generated and {len(reference)} reference images."
        )
    centre = mean_of(reference).float()  # distances stay, rounding shrinks
    fakes, reals = Cloud(generated, centre), Cloud(reference, centre)
    slack = ROUNDING * max(fakes.squares.max().item(), reals.squares.max().item())
    precision, recall = _shares_within(fakes, fakes.radii(k, here) + slack, reals, reals.radii(k, here) + slack, here)
    return precision, recall


class Cloud:
    """Features (N, D) around a centre (D,), and their squares |a|^2 (N,) in float64.

    With u the rounding of float32, a sum of D products is off by D u |a| |b| at most (Higham 2002, eq. 3.5), so that
    |a|^2 + |b|^2 - 2 a.b is off by `error` times |a|^2 + |b|^2, the roundings of its terms included.
    """

    def __init__(self, features: Table, centre: Tensor) -> None:
        self.features, self.centre = features, centre
        self.squares = torch.cat([self.rows(part).square().sum(dim=1) for part in self.slices(TILE)])
        self.error = (features.shape[1] + 8) * UNIT

    def slices(self, size: int) -> list[slice]:
        return [slice(start, start + size) for start in range(0, len(self.features), size)]

    def rows(self, which: slice | Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        features = self.features[which]
        if dtype == torch.float64:
            features = features.double()
        return (features - self.centre.to(features.dtype)).to(dtype)

    def squared_distances(self, which: slice | Tensor, others: Cloud) -> Tensor:
        """(n, M) in float64."""
        a = self.rows(which)
        # Filled, not joined: parts between the rows that come and go would cut the heap to pieces that fit no more.
        products = torch.empty(len(a), len(others.squares), dtype=torch.float64)
        for part in others.slices(TILE):
            products[:, part] = a @ others.rows(part).T
        return products.mul_(-2).add_(self.squares[which, None]).add_(others.squares)

    def radii(self, k: int, here: Ranks) -> Tensor:
        """(N,) squared distances to the k-th neighbour; the nearest of all is the feature itself."""
        lower, nearest = self._candidates(k + 1 + SPARE, here)
        radii = torch.zeros_like(self.squares)
        doubtful = [torch.empty(0, dtype=torch.long)]
        for part in here.share(self.slices(GATHERED)):
            differences = self.features[nearest[part]].double().sub_(self.features[part].double()[:, None])
            radii[part] = differences.square_().sum(dim=2).kthvalue(k + 1).values
            # Any that was left out is further than `lower`, which settles most rows.
            doubtful.append((radii[part] > lower[part]).nonzero().flatten() + part.start)
        for rows in torch.cat(doubtful).split(ROWS):
            radii[rows] = self.squared_distances(rows, self).kthvalue(k + 1).values.clamp_(min=0)
        return here.total(radii)

    def _candidates(self, count: int, here: Ranks) -> tuple[Tensor, Tensor]:
        """The `count` that seem nearest to each (N, count), and what squared distances to others exceed (N,)."""
        count = min(count, len(self.features))
        bound = torch.full((len(self.features), count), torch.inf)
        nearest = torch.zeros(len(self.features), count, dtype=torch.long)
        least = ((1 - self.error) * self.squares).float()

        def keep(rows: slice, columns: slice, products: Tensor) -> None:
            found = torch.sub(least[columns], products, alpha=2).topk(min(count, products.shape[1]), largest=False)
            both = torch.cat([bound[rows], found.values], dim=1)
            bound[rows], chosen = both.topk(count, largest=False)
            nearest[rows] = torch.cat([nearest[rows], found.indices + columns.start], dim=1).gather(1, chosen)

        tiles = self.slices(TILE)
        for number, rows in here.share(list(enumerate(tiles))):
            left = self.rows(rows, torch.float32)
            for columns in tiles[: number + 1]:
                products = onednn.product(left, self.rows(columns, torch.float32))
                keep(rows, columns, products)
                if rows != columns:
                    keep(columns, rows, products.T)
        own, (bound, nearest) = (bound, nearest), here.told((bound, nearest), 0)
        for rank in range(1, here.world):
            theirs = here.told(own, rank)
            bound, place = torch.cat([bound, theirs[0]], dim=1).topk(count, largest=False)
            nearest = torch.cat([nearest, theirs[1]], dim=1).gather(1, place)
        if count == len(self.features):
            return torch.full_like(self.squares, torch.inf), nearest
        return bound[:, -1].double() + (1 - self.error) * self.squares, nearest


def _shares_within(a: Cloud, radii_a: Tensor, b: Cloud, radii_b: Tensor, here: Ranks) -> tuple[float, float]:
    """The share of a's features in a ball of b, and of b's in a ball of a."""
    best_a, best_b = (torch.full((len(cloud.features),), torch.inf) for cloud in (a, b))
    offset_a, offset_b = (a.squares - radii_a).float(), (b.squares - radii_b).float()
    for rows in here.share(a.slices(TILE)):
        left = a.rows(rows, torch.float32)
        for columns in b.slices(TILE):
            products = onednn.product(left, b.rows(columns, torch.float32))
            within_b = torch.sub(offset_b[columns], products, alpha=2).amin(dim=1)
            within_a = torch.sub(offset_a[rows, None], products, alpha=2).amin(dim=0)
            best_a[rows] = torch.minimum(best_a[rows], within_b)
            best_b[columns] = torch.minimum(best_b[columns], within_a)
    here.least(best_a)
    here.least(best_b)
    return _share_within(a, best_a, b, radii_b, here), _share_within(b, best_b, a, radii_a, here)


def _share_within(points: Cloud, best: Tensor, centres: Cloud, radii: Tensor, here: Ranks) -> float:
    """`best` is the least |c|^2 - r^2 - 2 p.c of each point p over all centres c, from float32."""
    excess = best.double() + points.squares  # of the squared distance over the squared radius
    error = points.error * (points.squares + centres.squares.max() + radii.max())
    doubtful, within = excess.abs() <= error, (excess <= 0).double()
    settled = torch.zeros_like(within)
    for rows in here.share(doubtful.nonzero().flatten().split(ROWS)):
        settled[rows] = (points.squared_distances(rows, centres) <= radii).any(dim=1).double()
    return torch.where(doubtful, here.total(settled), within).mean().item()
