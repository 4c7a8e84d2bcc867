"""All metrics of a generated set against a reference, and what to mind when reading them."""

from __future__ import annotations

from dataclasses import dataclass

from dimbench.quality.feature_rows import Table
from dimbench.quality.frechet import frechet_distance
from dimbench.quality.frechet_error import FEWEST, of_infinitely_many, standard_error
from dimbench.quality.inception_score import SPLITS
from dimbench.quality.kid import SUBSET_SIZE, kernel_distance
from dimbench.quality.mind import monge_distance
from dimbench.quality.precision_recall import NEIGHBOURS, precision_recall
from dimbench.quality.statistics import Statistics
from dimbench.quality.summary import FeatureSummary
from dimbench.sampling.ranks import ALONE, Ranks

ALIKE = 0.5  # a few dead features lower the rank of any set, but not to half of what its images could have
Findings = tuple[dict[str, float], list[str]]  # metrics and warnings


@dataclass(frozen=True)
class Evaluation:
    """`metrics` by name (fid, fid_error: its standard error over draws of the images, fid_infinity: of infinitely many,
    sfid, is_mean, is_std, kid_mean, kid_std, mind, precision, recall, and by VGG precision_vgg, recall_vgg), less those
    not measured.

    `warnings` holds a sentence for each doubt and for each metric left out. A size is None where it is not known.
    """

    metrics: dict[str, float]
    generated_images: int | None
    reference_images: int | None
    warnings: list[str]


def evaluate(generated: FeatureSummary, reference: FeatureSummary, here: Ranks = ALONE) -> Evaluation:
    """Compare two sets with every metric's defaults, shared out where the ranks `here` are several. Raises UsageError
    for unlike dimensions or too few images, DimbenchError for features that are NaN or infinite."""
    findings = [
        *here.agree(lambda: _of_statistics(generated, reference)),
        _feature_distances(generated.features, reference.features, here),
        _by_vgg(generated.vgg, reference.vgg, here),
    ]
    metrics = {name: value for part, _ in findings for name, value in part.items()}
    warnings = [warning for _, part in findings for warning in part]
    return Evaluation(metrics, generated.pool.n, reference.pool.n, warnings)


def _of_statistics(generated: FeatureSummary, reference: FeatureSummary) -> list[Findings]:
    """What one process works out as fast as many."""
    fid = _frechet("fid", generated.pool, reference.pool)
    return [
        fid,
        _told(generated, reference.pool, fid[0]["fid"]),
        _spatial(generated.spatial, reference.spatial),
        _score(generated),
    ]


def _frechet(name: str, generated: Statistics, reference: Statistics) -> Findings:
    dimensions = len(reference.mu)
    warnings = [
        f"{'FID' if name == 'fid' else 'sFID'} is biased upwards and its covariance singular: the {whose} set has {n} "
        f"images for {dimensions} feature dimensions, so give more images or read KID."
        for whose, n in (("generated", generated.n), ("reference", reference.n))
        if n is not None and n <= dimensions
    ]
    for whose, found in (("generated", generated), ("reference", reference)):
        expected = dimensions if found.n is None else min(found.n - 1, dimensions)
        if found.rank < ALIKE * expected:
            warnings.append(
                f"The {whose} images vary in {found.rank} of {expected} directions, so they are few or alike: look at "
                "them before the figure."
            )
    return {name: frechet_distance(generated, reference)}, warnings


def _told(generated: FeatureSummary, reference: Statistics, fid: float) -> Findings:
    """What so many images can tell of FID."""
    features, dimensions = generated.features, len(generated.pool.mu)
    if features is None:
        return {}, []
    if len(features) < FEWEST * dimensions:
        return {}, [
            f"The error of FID was not measured: {len(features)} images where {dimensions} feature dimensions need "
            f"{FEWEST * dimensions}."
        ]
    found = {"fid_error": standard_error(features, generated.pool, reference)}
    return {**found, "fid_infinity": of_infinitely_many(features, reference, fid)}, []


def _spatial(generated: Statistics | None, reference: Statistics | None) -> Findings:
    if generated is None:
        return {}, []  # the extractor has none
    if reference is None:
        return {}, ["sFID was not measured: the reference gives no spatial statistics."]
    return _frechet("sfid", generated, reference)


def _score(generated: FeatureSummary) -> Findings:
    if generated.score is None and (generated.pool.n or 0) >= SPLITS:
        return {}, []  # the extractor names no classes
    if generated.score is None:
        return {}, [f"The Inception Score was not measured: {generated.pool.n} images do not fill its {SPLITS} splits."]
    return dict(zip(("is_mean", "is_std"), generated.score, strict=True)), []


def _feature_distances(generated: Table | None, reference: Table | None, here: Ranks) -> Findings:
    if generated is None or reference is None:
        return {}, ["KID, MIND, precision and recall were not measured: the reference gives no features."]
    smaller = min(len(generated), len(reference))
    if smaller <= NEIGHBOURS:
        return {}, [
            f"KID, MIND, precision and recall were not measured: the smaller set has {smaller} images "
            f"where at least {NEIGHBOURS + 1} are needed."
        ]
    subset_size, warnings = SUBSET_SIZE, list[str]()
    if smaller < SUBSET_SIZE:
        subset_size = smaller // 2
        warnings = [
            f"KID was measured on subsets of {subset_size} images instead of {SUBSET_SIZE}: the smaller set has "
            f"{smaller} images, so its deviation cannot be compared with published ones."
        ]
    kid_mean, kid_std = kernel_distance(generated, reference, subset_size, here=here)
    found = {"kid_mean": kid_mean}
    if kid_std is None:
        warnings.append(
            f"The deviation of KID was not measured: the smaller set is one subset of {subset_size} images."
        )
    else:
        found["kid_std"] = kid_std
    found["mind"] = monge_distance(generated, reference, here)
    precision, recall = precision_recall(generated, reference, here=here)
    return {**found, "precision": precision, "recall": recall}, warnings


def _by_vgg(generated: Table | None, reference: Table | None, here: Ranks) -> Findings:
    """As Kynkaanniemi et al. 2019; small sets have been warned of."""
    if generated is None or reference is None or min(len(generated), len(reference)) <= NEIGHBOURS:
        return {}, []
    return dict(
        zip(("precision_vgg", "recall_vgg"), precision_recall(generated, reference, here=here), strict=True)
    ), []
