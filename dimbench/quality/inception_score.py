"""The Inception Score: are single images named with certainty, and is the whole set diverse?"""

from __future__ import annotations

import torch
from torch import Tensor

from dimbench.errors import UsageError
from dimbench.quality.checks import checked

SPLITS = 10


class RunningScore:
    """The Inception Score of `total` images whose logits come in batches (Salimans et al. 2016, section 4).

    The splits are consecutive, as in ADM's evaluator (50,000 images, 10 splits): images must not lie sorted by class.
    Of each split only sums in float64 are kept; the images are those from `first` on.
    Raises UsageError for fewer images than splits.
    """

    def __init__(self, total: int, splits: int = SPLITS, first: int = 0) -> None:
        if not 1 <= splits <= total:
            raise UsageError(f"{total} images cannot be cut into {splits} splits: give more images or fewer splits.")
        self.total, self.splits, self.first, self.n = total, splits, first, 0
        self.names = torch.zeros(splits, 0, dtype=torch.float64)
        self.entropies = torch.zeros(splits, dtype=torch.float64)

    def update(self, logits: Tensor) -> None:
        """Add logits (N, K)."""
        p = checked(logits, minimum=1).double().softmax(dim=1)
        if not self.n:
            self.names = torch.zeros(self.splits, p.shape[1], dtype=torch.float64)
        # Split j begins at image j * total // splits.
        image = torch.arange(self.n, self.n + len(p)) + self.first
        split = ((image + 1) * self.splits - 1) // self.total
        self.names.index_add_(0, split, p)
        self.entropies.index_add_(0, split, torch.special.entr(p).sum(dim=1))
        self.n += len(p)

    def merge(self, other: RunningScore) -> None:
        """Add all that another of the same set has seen."""
        if other.n:
            self.names = other.names + self.names if self.n else other.names
            self.entropies += other.entropies
            self.n += other.n

    def result(self) -> tuple[float, float]:
        """Mean and standard deviation over the splits of exp(E KL(p(y|x) || p(y)))."""
        bounds = torch.arange(self.splits + 1) * self.total // self.splits
        sizes = bounds.diff()
        marginal = self.names / sizes[:, None]
        scores = (torch.special.entr(marginal).sum(dim=1) - self.entropies / sizes).exp()
        return scores.mean().item(), scores.std(correction=0).item()


def inception_score(logits: Tensor, splits: int = SPLITS) -> tuple[float, float]:
    """Mean and standard deviation of the Inception Score of logits (N, K); raises as RunningScore does."""
    logits = checked(logits)
    running = RunningScore(len(logits), splits)
    running.update(logits)
    return running.result()
