"""What sources print of speed, beside the ratio of multiply-adds, what their script times, and what was measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dimbench import conditions as keys
from dimbench.counting import kept
from dimbench.papers import printed as tables


@dataclass(frozen=True)
class SpeedClaim:
    """How many times as fast `fast` is as `slow`: `printed` in words, or "" where `table` prints a speed of each;
    `script` says what was timed."""

    fast: str
    slow: str
    resolution: int
    source: str
    script: str
    table: str = ""
    printed: str = ""


DICO = "one pass of 64 images without guidance or decoding; the clock is read without waiting for the device"
DIMSUM = "a run without decoding, by the device's own events, not warmed; sampler and passes of each are not stated"
UDIT = "training steps; the repository's script for inference reads the clock without waiting for the device"
DIT_SURVEY = "nothing is stated"

CLAIMS = (
    SpeedClaim("dimsum-l2", "dit-l2", 256, "DiMSUM, appendix C; a survey: 42 % less time", DIMSUM, "dimsum-speed"),
    SpeedClaim("dimsum-l2", "dit-l2", 256, "DiCo, table 1", DICO, "dico-1"),
    SpeedClaim("dim-h2", "dit-xl2", 256, "DiCo, table 1", DICO, "dico-1"),
    SpeedClaim("dim-h2", "dit-xl2", 512, "DiCo, table 2", DICO, "dico-2"),
    SpeedClaim("dico-xl", "dit-xl2", 256, "DiCo, abstract", DICO, printed="2.7"),
    SpeedClaim("dico-xl", "dit-xl2", 512, "DiCo, abstract", DICO, printed="3.1"),
    SpeedClaim("udit-l", "dit-xl2", 256, "U-DiT, table 11", UDIT, "udit-11"),
    SpeedClaim("udit-b-vanilla", "dit-xl2", 256, "U-DiT, table 11", UDIT, "udit-11"),
    SpeedClaim("skip-dit-xl2", "dit-xl2", 256, "a survey of DiT", DIT_SURVEY, printed="1.5 to 2"),
)


def networks() -> list[tuple[str, int]]:
    """What is counted for them."""
    return [(name, claim.resolution) for claim in CLAIMS for name in (claim.fast, claim.slow)]


def printed(claim: SpeedClaim) -> str:
    """How many times as fast it is printed to be."""
    if claim.printed:
        return claim.printed
    table = tables.find(claim.table)
    index = next(k for k, column in enumerate(table.columns) if column.quantity.metric in _TIMES)
    rows = {row.model: row for row in table.rows if row.resolution == claim.resolution}
    fast, slow = (float(rows[name].cells[index]) for name in (claim.fast, claim.slow))
    return f"{slow / fast if table.columns[index].name == 'seconds_per_image' else fast / slow:.2f}"


_TIMES = ("seconds", "images_per_second")


def of_macs(claim: SpeedClaim) -> float:
    """How many times the multiply-adds of the faster one the slower one has."""
    slow, fast = (kept.sums(name, claim.resolution).macs("macs") for name in (claim.slow, claim.fast))
    return slow / fast


Times = tuple[float, str, int]
"""How many times as fast, on which device, with which batch."""


def measured(claim: SpeedClaim, records: Sequence[Mapping[str, Any]]) -> list[Times]:
    """How many times as fast it was in records of single passes."""
    asked = {"mode": "inference", "resolution": claim.resolution}
    single = [record for record in records if asked.items() <= record["conditions"].items()]
    fast, slow = ([record for record in single if record["model"] == name] for name in (claim.fast, claim.slow))
    return times(fast, slow, keys.OF_MODEL)


def times(
    fast: Sequence[Mapping[str, Any]], slow: Sequence[Mapping[str, Any]], without: Collection[str]
) -> list[Times]:
    """Of records of `bench` those that agree in all conditions but these: the newest of each."""
    sides: list[dict[str, Mapping[str, Any]]] = []
    for records in (fast, slow):
        timed = [record for record in records if record["command"] == "bench" and record["metrics"].get("seconds")]
        newest = sorted(timed, key=lambda record: record["created"])
        sides.append({keys.key(record["conditions"], without): record for record in newest})
    found = []
    for key, record in sides[0].items():
        if other := sides[1].get(key):
            ratio = other["metrics"]["seconds"] / record["metrics"]["seconds"]
            found.append((ratio, record["conditions"]["device_name"], record["conditions"]["batch"]))
    return found
