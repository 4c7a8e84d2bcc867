"""All metrics of a generated set against a reference, and what to mind when reading them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dimbench.quality.checks import checked
from dimbench.quality.frechet import frechet_distance
from dimbench.quality.inception_score import SPLITS, inception_score
from dimbench.quality.kid import SUBSET_SIZE, kernel_distance
from dimbench.quality.precision_recall import NEIGHBOURS, precision_recall
from dimbench.quality.statistics import Statistics, statistics_of

Findings = tuple[dict[str, float], list[str]]  # metrics and warnings


@dataclass(frozen=True)
class Evaluation:
    """`metrics` by name (fid, is_mean, is_std, kid_mean, kid_std, precision, recall), less those not measured.

    `warnings` holds a sentence for each doubt and for each metric left out. A size is None where it is not known.
    """

    metrics: dict[str, float]
    generated_images: int
    reference_images: int | None
    warnings: list[str]


def evaluate(generated: Mapping[str, Tensor], reference: Mapping[str, Tensor] | Statistics) -> Evaluation:
    """Compare the features of two sets, each with "pool" (N, D) and "logits" (N, K), with every metric's defaults.

    Of a reference that is only Statistics, FID and the Inception Score can be had. Raises UsageError for fewer than
    2 images or unlike dimensions, DimbenchError for features that are NaN or infinite.
    """
    pool = checked(generated["pool"], "The generated")
    if isinstance(reference, Statistics):
        known = reference
        distances: Findings = {}, ["KID, precision and recall were not measured: the reference gives no features."]
    else:
        known = statistics_of(checked(reference["pool"], "The reference"))
        distances = _feature_distances(pool, reference["pool"])
    findings = [_frechet(statistics_of(pool), known), _inception_score(generated["logits"]), distances]
    metrics = {name: value for part, _ in findings for name, value in part.items()}
    return Evaluation(metrics, len(pool), known.n, [warning for _, part in findings for warning in part])


def _frechet(generated: Statistics, reference: Statistics) -> Findings:
    dimensions = len(reference.mu)
    warnings = [
        f"FID is biased upwards and its covariance singular: the {whose} set has {n} images for {dimensions} feature "
        "dimensions, so give more images or read KID."
        for whose, n in (("generated", generated.n), ("reference", reference.n))
        if n is not None and n <= dimensions
    ]
    return {"fid": frechet_distance(generated, reference)}, warnings


def _inception_score(logits: Tensor) -> Findings:
    if len(logits) < SPLITS:
        return {}, [f"The Inception Score was not measured: {len(logits)} images do not fill its {SPLITS} splits."]
    mean, std = inception_score(logits)
    return {"is_mean": mean, "is_std": std}, []


def _feature_distances(generated: Tensor, reference: Tensor) -> Findings:
    smaller = min(len(generated), len(reference))
    if smaller <= NEIGHBOURS:
        return {}, [
            f"KID, precision and recall were not measured: the smaller set has {smaller} images "
            f"where at least {NEIGHBOURS + 1} are needed."
        ]
    # Subsets as large as the set would all be the same, and their deviation zero.
    subset_size, warnings = SUBSET_SIZE, []
    if smaller < SUBSET_SIZE:
        subset_size = smaller // 2
        warnings = [
            f"KID was measured on subsets of {subset_size} images instead of {SUBSET_SIZE}: the smaller set has "
            f"{smaller} images, so its deviation cannot be compared with published ones."
        ]
    kid_mean, kid_std = kernel_distance(generated, reference, subset_size)
    precision, recall = precision_recall(generated, reference)
    return {"kid_mean": kid_mean, "kid_std": kid_std, "precision": precision, "recall": recall}, warnings
