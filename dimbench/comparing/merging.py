"""Files of records that the jobs of an array wrote, put together once it is known that nothing is missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dimbench import conditions, results
from dimbench.bench import job_shards
from dimbench.errors import DimbenchError, UsageError

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
        read = results.read(file)
        if any("plan" in record.get("details", {}) and not _is_sound(record["details"]) for record in read):
            raise DimbenchError(f"{file} says of a row what no shard is; run that shard again")
        found.records += read
    found.faults = [*_doubled(found.records), *_of_other_versions(found.records)]
    plans: dict[tuple[str, int], list[Read]] = defaultdict(list)
    for record in found.records:
        if "plan" in (details := record.get("details", {})):
            plans[details["plan"], details["plan_rows"]].append(record)
    for records in plans.values():
        found.faults += _missing(records)
    return found


def _is_sound(details: Read) -> bool:
    """Whether they say of the shard what JobShard notes."""
    rows = [details.get(name) for name in ("shard_rows", "plan_rows")]
    if not isinstance(details["plan"], str) or not all(type(count) is int and count > 0 for count in rows):
        return False
    try:
        job_shards.parse(str(details.get("shard")))
    except UsageError:
        return False
    return True


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
        every = range(1, count + 1)
        absent = [part for part in every if f"{part}/{count}" not in planned] or every
        left = whole - sum(planned.values())
        which = f"i/{count} for i in {_spans(absent)}" if len(absent) > 1 else f"{absent[0]}/{count}"
        faults.append(f"{left} of {whole} rows {'is' if left == 1 else 'are'} in no file; run --shard {which}")
    return faults


def _spans(numbers: Sequence[int]) -> str:
    """[2, 3, 4, 7] -> "2-4,7", as an array of jobs is written."""
    ends = [k for k, number in enumerate(numbers) if number + 1 not in numbers[k + 1 : k + 2]]
    starts = [0, *(end + 1 for end in ends[:-1])]
    spans = ((numbers[start], numbers[end]) for start, end in zip(starts, ends, strict=True))
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
