"""Files of records that the jobs of an array wrote, put together once it is known that nothing is missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dimbench import conditions, results

MADE_BY = ("dimbench", "commit", "torch")  # what must be alike in records that stand side by side

Read = Mapping[str, Any]


@dataclass
class Merged:
    """The records of all files in their order, and a sentence for each fault."""

    records: list[Read] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def merged(files: Sequence[Path]) -> Merged:
    """What the files hold together. DimbenchError for a file that holds no records."""
    found = Merged()
    for file in files:
        found.records += results.read(file)
    found.faults = [*_doubled(found.records), *_of_other_versions(found.records)]
    plans: dict[str, list[Read]] = defaultdict(list)
    for record in found.records:
        if "plan" in record.get("details", {}):
            plans[record["details"]["plan"]].append(record)
    for records in plans.values():
        found.faults += _missing(records)
    return found


def _said(record: Read) -> str:
    """Which shard to run again, as far as the record says it."""
    shard = record.get("details", {}).get("shard")
    sweep = record.get("details", {}).get("sweep")
    whole = f" of the sweep {sweep}" if sweep else ""
    return f"run --shard {shard}{whole} again" if shard else "measure it again"


def _doubled(records: Sequence[Read]) -> list[str]:
    keys = Counter(map(_key, records))
    first = {key: record for record in reversed(records) if keys[key := _key(record)] > 1}
    return [
        f"{record['command']} of {record['model']} is there {keys[key]} times under the same conditions; leave out all "
        "files but one that hold it"
        for key, record in reversed(first.items())
    ]


def _key(record: Read) -> str:
    return f"{record['command']} {record['model']} {conditions.key(record['conditions'])}"


def _of_other_versions(records: Sequence[Read]) -> list[str]:
    """The most of the records are right, whoever made them."""
    makers = Counter(map(_maker, records))
    usual = makers.most_common(1)[0][0] if makers else ()
    others = {(_maker(record), _said(record)): record for record in records if _maker(record) != usual}
    return [
        f"{record['command']} of {record['model']} was made by {_differing(maker, usual)}; {said}"
        for (maker, said), record in others.items()
    ]


def _maker(record: Read) -> tuple[Any, ...]:
    return tuple(record.get("environment", {}).get(name) for name in MADE_BY)


def _differing(maker: Sequence[Any], usual: Sequence[Any]) -> str:
    apart = [(name, a, b) for name, a, b in zip(MADE_BY, maker, usual, strict=True) if a != b]
    return ", ".join(f"{name} {a} and most by {b}" for name, a, b in apart)


def _missing(records: Sequence[Read]) -> list[str]:
    """Shards with fewer rows than were planned, or none, of one plan."""
    details = [record["details"] for record in records]
    whole, parts = details[0]["plan_rows"], {detail["shard"].partition("/")[2] for detail in details}
    if len(parts) > 1:
        return [f"rows of one plan were cut into {' and into '.join(sorted(parts))} shards; give those of one cut"]
    there = Counter(detail["shard"] for detail in details)
    planned = {detail["shard"]: detail["shard_rows"] for detail in details}
    last = {detail["shard"]: record for detail, record in zip(details, records, strict=True)}
    faults = [
        f"shard {shard} has {there[shard]} of {rows} rows; {_said(last[shard])}"
        for shard, rows in planned.items()
        if there[shard] < rows
    ]
    if sum(planned.values()) < whole:
        count = int(parts.pop())
        absent = [f"{part}/{count}" for part in range(1, count + 1) if f"{part}/{count}" not in planned]
        left = whole - sum(planned.values())
        faults.append(f"of {whole} rows {left} are in no file; run --shard {' and --shard '.join(absent)}")
    return faults
