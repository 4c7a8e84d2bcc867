"""The Inception Score: are single images named with certainty, and is the whole set diverse?"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from dimbench.errors import UsageError
from dimbench.quality.checks import checked

SPLITS = 10


def inception_score(logits: Tensor, splits: int = SPLITS) -> tuple[float, float]:
    """Mean and standard deviation over `splits` of exp(E KL(p(y|x) || p(y))) (Salimans et al. 2016, section 4).

    `logits` (N, K). The splits are consecutive, as in ADM's evaluator (50,000 images, 10 splits): images must not
    lie sorted by class. Raises UsageError for fewer images than splits.
    """
    logits = checked(logits)
    if not 1 <= splits <= len(logits):
        raise UsageError(f"{len(logits)} images cannot be cut into {splits} splits: give more images or fewer splits.")
    log_p = logits.log_softmax(dim=1)
    bounds = [i * len(logits) // splits for i in range(splits + 1)]
    scores = torch.stack([_score(log_p[i:j]) for i, j in pairwise(bounds)])
    return scores.mean().item(), scores.std(correction=0).item()


def _score(log_p: Tensor) -> Tensor:
    log_marginal = log_p.logsumexp(dim=0) - math.log(len(log_p))
    return (log_p.exp() * (log_p - log_marginal)).sum(dim=1).mean().exp()
