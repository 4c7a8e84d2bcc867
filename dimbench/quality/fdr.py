"""FDr^k: the mean over k representation spaces of a Frechet distance, in units of that of real images held back from
the reference (Yang et al. 2026, arXiv 2604.28190)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dimbench import conditions
from dimbench.errors import DimbenchError, UsageError
from dimbench.quality.protocol import FRECHET, INCEPTION

# Of ImageNet's validation images at 256 pixels to its training images, as the paper prints them.
PRINTED = {
    INCEPTION: 1.68, "fdr-convnextv2-b": 56.87, "fdr-dinov2-l": 14.19, "fdr-clip-l": 5.60, "fdr-mae-l": 0.04,
    "fdr-siglip2-so400m": 0.60,
}  # fmt: skip
PRINTED_SIDE = 256
SPACE = ("extractor", "extractor_sha256", "resize", "reference_sha256", "resolution")  # equal on both sides of a ratio
_OF_SPACE = (*SPACE, "reference", "reference_images", "vgg_sha256", "prompts_sha256")  # may differ within one mean
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Ratio:
    """A distance `fd` in the space of an extractor, beside `held_back`, that of real images."""

    extractor: str
    fd: float
    held_back: float

    @property
    def fdr(self) -> float:
        return self.fd / self.held_back


@dataclass(frozen=True)
class Averaged:
    """The spaces in which the images of one model were evaluated, and warnings of them."""

    model: str
    images: int | None
    ratios: Sequence[Ratio]
    warnings: Sequence[str]

    @property
    def fdr(self) -> float:
        return sum(each.fdr for each in self.ratios) / len(self.ratios)

    @property
    def missing(self) -> list[str]:
        """Spaces of the paper in which they were not."""
        return [name for name in PRINTED if name not in {each.extractor for each in self.ratios}]


def averaged(records: Sequence[Row], held_back: str | None) -> list[Averaged]:
    """Of each set of images in records of `fid`, the newest figure in each space; those called `held_back` are of real
    images, without a name the paper's figures stand for them. DimbenchError where there is nothing to divide."""
    found = [record for record in records if record["command"] == "fid" and _figure(record) is not None]
    real = [record for record in found if record["model"] == held_back]
    if held_back and not real:
        names = ", ".join(dict.fromkeys(record["model"] for record in found)) or "none"
        raise DimbenchError(f"no record of `fid` is of {held_back}, the real images; of them there are {names}")
    sets: dict[str, dict[str, Row]] = {}
    for record in sorted(found, key=lambda record: record["created"]):
        if record["model"] != held_back:
            key = f"{record['model']} {conditions.key(record['conditions'], _OF_SPACE)}"
            sets.setdefault(key, {})[record["conditions"]["extractor"]] = record
    if not sets:
        raise DimbenchError("no record here is of evaluated images; `dimbench fid --extractor NAME` makes one a space")
    return [_averaged(list(spaces.values()), real, held_back) for spaces in sets.values()]


def _averaged(spaces: Sequence[Row], real: Sequence[Row], held_back: str | None) -> Averaged:
    ratios, warnings = [], []
    for record in spaces:
        under, fd = record["conditions"], _figure(record)
        assert fd is not None
        if held_back is None:
            beside = _printed(under)
        else:
            partner = _partner(record, real, held_back)
            beside = _figure(partner) or 0.0
            counts = under["num_images"], partner["conditions"]["num_images"]
            if counts[0] != counts[1]:
                warnings.append(
                    f"{under['extractor']}: {counts[0]:,} images beside {counts[1]:,} held back; FD depends on it."
                )
        if beside <= 0:
            raise DimbenchError(
                f"{held_back} lies at no distance from its reference in the space of {under['extractor']}: give real "
                "images that are not those of the reference"
            )
        ratios.append(Ratio(under["extractor"], fd, beside))
    order = [*PRINTED, *(each.extractor for each in ratios if each.extractor not in PRINTED)]
    return Averaged(
        spaces[0]["model"], spaces[0]["conditions"].get("num_images"),
        sorted(ratios, key=lambda each: order.index(each.extractor)), warnings,
    )  # fmt: skip


def _figure(record: Row) -> float | None:
    """The distance in the space of its extractor, the mean of several draws where there are."""
    named = (f"{name}{end}" for name in FRECHET for end in ("_mean", ""))
    return next((float(value) for name in named if (value := record["metrics"].get(name)) is not None), None)


def _printed(under: Mapping[str, Any]) -> float:
    if under["extractor"] not in PRINTED or under.get("resolution") != PRINTED_SIDE:
        raise UsageError(
            f"the paper prints no figure for {under['extractor']} at {under.get('resolution')} pixels, only for "
            f"ImageNet at {PRINTED_SIDE}; evaluate real images that were held back and name them by --held-back"
        )
    return PRINTED[under["extractor"]]


def _partner(record: Row, real: Sequence[Row], held_back: str) -> Row:
    """The newest record of the real images in the same space."""
    under = record["conditions"]
    alike = [each for each in real if all(each["conditions"].get(name) == under.get(name) for name in SPACE)]
    if not alike:
        raise DimbenchError(
            f"{held_back} has no record by {under['extractor']} with the weights, the reference and the resolution of "
            f"{record['model']}'s; evaluate it by `dimbench fid` in the same way"
        )
    return max(alike, key=lambda each: each["created"])
