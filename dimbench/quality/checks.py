"""What every metric demands of the features it is given."""

from __future__ import annotations

import torch
from torch import Tensor

from dimbench.errors import DimbenchError, UsageError
from dimbench.quality.feature_rows import FeatureRows, Table


def checked(features: Tensor, whose: str = "The", minimum: int = 2) -> Tensor:
    """The features (N, D) in float32 if they are, else in float64; `whose` begins the sentence of the error.

    Raises UsageError for another shape or fewer than `minimum` images, DimbenchError for NaN or infinite values.
    """
    if features.ndim != 2:
        raise UsageError(
            f"{whose} features have the shape {tuple(features.shape)} where (images, dimensions) was expected: "
            "give one row for each image."
        )
    at_least(minimum, len(features), whose)
    # A sum is finite only where all of its terms are.
    bad = 0 if features.sum().isfinite() else int((~features.isfinite().all(dim=1)).sum())
    if bad:
        raise DimbenchError(
            f"{whose} features of {bad} of {len(features)} images hold NaN or infinity where numbers were expected: "
            "the model that made the images probably diverged, so look at the images first."
        )
    return features if features.dtype in (torch.float32, torch.float64) else features.double()


def checked_pair(generated: Table, reference: Table) -> tuple[Table, Table]:
    """Both sets, checked, of one dimension and of the finer precision of the two; those in files were when they were
    summed."""
    if not isinstance(generated, FeatureRows):
        generated = checked(generated, "The generated")
    if not isinstance(reference, FeatureRows):
        reference = checked(reference, "The reference")
    same_dimensions(generated.shape[1], reference.shape[1])
    precision = torch.promote_types(generated.dtype, reference.dtype)
    return generated.to(precision), reference.to(precision)


def same_dimensions(generated: int, reference: int) -> None:
    """Raise UsageError where two sets have features of unlike dimensions."""
    if generated != reference:
        raise UsageError(
            f"The generated features have {generated} dimensions and the reference's {reference}: "
            "take both sets through the same extractor."
        )


def at_least(minimum: int, n: int, whose: str = "The") -> None:
    """Raise UsageError for a set of fewer than `minimum` images."""
    if n < minimum:
        raise UsageError(f"{whose} set holds {n} image{'s' * (n != 1)} where at least {minimum} are needed: give more.")
