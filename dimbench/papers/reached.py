"""Whether a published FID was reached by records that followed its recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from dimbench import conditions
from dimbench.errors import DimbenchError
from dimbench.presets import Recipe
from dimbench.quality.protocol import TRAININGS
from dimbench.quality.repeating import IMAGES
from dimbench.stats import NORMAL

SEEDS = ("seed", "repeats")


class Reach(StrEnum):
    YES = "reached"
    NO = "not reached"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True)
class Followed:
    """A recipe with the newest figure that followed it: of `images` in `draws` sets, `low` to `high` with 95 %
    confidence, None where the record says no error. `apart` gives the conditions in which figures of this recipe
    differ; `why` says what keeps a verdict from being given."""

    recipe: Recipe
    fid: float
    low: float | None
    high: float | None
    images: int
    draws: int
    verdict: Reach
    why: str = ""
    apart: str = ""


def check(recipes: Mapping[str, Recipe], records: Sequence[Mapping[str, Any]]) -> list[Followed]:
    """The newest record of each recipe that has one, whatever its seeds, and under each of the conditions that it was
    followed in, such as other weights; in the recipes' order, judged. A figure reaches the printed one
    where its whole interval lies no more than 1.3 % above it. DimbenchError where no record followed any."""
    newest: dict[str, dict[str, Mapping[str, Any]]] = {}
    for record in sorted(records, key=lambda record: record["created"]):
        if (name := record.get("details", {}).get("recipe")) in recipes and _figure(record) is not None:
            newest.setdefault(name, {})[conditions.key(record["conditions"], SEEDS)] = record
    if not newest:
        raise DimbenchError("no record here followed one of these recipes; `dimbench fid --recipe NAME` makes them")
    found = []
    for name in (name for name in recipes if name in newest):
        rows = list(newest[name].values())
        varying = [each for each in conditions.varying(row["conditions"] for row in rows) if each not in SEEDS]
        for row in rows:
            apart = ", ".join(f"{each} {row['conditions'].get(each)}" for each in varying)
            found.append(replace(_followed(recipes[name], row), apart=apart))
    return found


def _figure(record: Mapping[str, Any]) -> float | None:
    return record["metrics"].get("fid_mean", record["metrics"].get("fid"))


def _followed(recipe: Recipe, record: Mapping[str, Any]) -> Followed:
    fid, error, under = _figure(record) or 0.0, record["metrics"].get("fid_error"), record["conditions"]
    half = None if error is None else NORMAL * error
    low, high = (None, None) if half is None else (max(0.0, fid - half), fid + half)
    seen = (recipe, fid, low, high, under["num_images"], under.get("repeats", 1))
    if under.get("weights") == "random":
        return Followed(*seen, Reach.UNKNOWN, "the weights were random")
    if under["num_images"] != IMAGES:
        return Followed(*seen, Reach.UNKNOWN, f"the claim is of {IMAGES:,} images")
    if low is None or high is None:
        return Followed(*seen, Reach.UNKNOWN, "the record says no error of its figure")
    allowed = (1 + TRAININGS) * float(recipe.fid)
    if high <= allowed:
        return Followed(*seen, Reach.YES)
    if low > allowed:
        return Followed(*seen, Reach.NO)
    return Followed(*seen, Reach.UNKNOWN, f"the interval holds {allowed:.4g}, 1.3 % above the claim")
