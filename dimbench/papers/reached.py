"""Whether a published FID was reached by records that followed its recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dimbench.errors import DimbenchError
from dimbench.presets import Recipe
from dimbench.quality.protocol import TRAININGS
from dimbench.quality.repeating import IMAGES
from dimbench.stats import NORMAL


class Reach(StrEnum):
    YES = "reached"
    NO = "not reached"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True)
class Followed:
    """A recipe with the newest figure that followed it: of `images` in `draws` sets, `low` to `high` with 95 %
    confidence, None where the record says no error. `why` says what keeps a verdict from being given."""

    recipe: Recipe
    fid: float
    low: float | None
    high: float | None
    images: int
    draws: int
    verdict: Reach
    why: str = ""


def check(recipes: Mapping[str, Recipe], records: Sequence[Mapping[str, Any]]) -> list[Followed]:
    """The newest record of each recipe that has one, in the recipes' order, judged. A figure reaches the printed one
    where its whole interval lies no more than 1.3 % above it. DimbenchError where no record followed any."""
    newest: dict[str, Mapping[str, Any]] = {}
    for record in sorted(records, key=lambda record: record["created"]):
        if (name := record.get("details", {}).get("recipe")) in recipes and _figure(record) is not None:
            newest[name] = record
    if not newest:
        raise DimbenchError("no record here followed one of these recipes; `dimbench fid --recipe NAME` makes them")
    return [_followed(recipe, newest[name]) for name, recipe in recipes.items() if name in newest]


def _figure(record: Mapping[str, Any]) -> float | None:
    return record["metrics"].get("fid_mean", record["metrics"].get("fid"))


def _followed(recipe: Recipe, record: Mapping[str, Any]) -> Followed:
    fid, error, conditions = _figure(record) or 0.0, record["metrics"].get("fid_error"), record["conditions"]
    half = None if error is None else NORMAL * error
    low, high = (None, None) if half is None else (max(0.0, fid - half), fid + half)
    seen = (recipe, fid, low, high, conditions["num_images"], conditions.get("repeats", 1))
    if conditions.get("weights") == "random":
        return Followed(*seen, Reach.UNKNOWN, "the weights were random")
    if conditions["num_images"] != IMAGES:
        return Followed(*seen, Reach.UNKNOWN, f"the claim is of {IMAGES:,} images")
    if low is None or high is None:
        return Followed(*seen, Reach.UNKNOWN, "the record says no error of its figure")
    allowed = (1 + TRAININGS) * float(recipe.fid)
    if high <= allowed:
        return Followed(*seen, Reach.YES)
    if low > allowed:
        return Followed(*seen, Reach.NO)
    return Followed(*seen, Reach.UNKNOWN, f"the interval holds {allowed:.4g}, 1.3 % above the claim")
