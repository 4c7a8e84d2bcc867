"""The record of one measurement: JSON lines on disk, a pandas frame in hand."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimbench import __version__, paths, processor
from dimbench.errors import DimbenchError, UsageError, reason
from dimbench.files import ends_whole

if TYPE_CHECKING:
    import pandas

SCHEMA = 1
_START = '{"schema"'  # of every line
_PARTS = {"command": str, "model": str, "conditions": dict, "metrics": dict, "environment": dict, "created": str}
_OPTIONAL = {"samples": dict, "details": dict, "warnings": list}
_MEASURED = "give a .jsonl file that a measuring command wrote"
_BEYOND = 1e30  # no count, time, size or distance in SI units comes near
_CODE = (".py", ".cpp", ".h", ".toml", ".tsv")  # how names of files end that decide what dimbench does
_DEEPEST = 8  # levels of lists and objects in a part
# How names begin of what there is no less of than none.
_COUNTED = (
    "calls_per_second",
    "flops",
    "images_per_second",
    "macs",
    "params",
    "peak_",
    "run_",
    "seconds",
    "weights_bytes",
)


@cache
def describe_machine() -> dict[str, Any]:
    """What may explain a difference between two machines or days."""
    return {
        "dimbench": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "numpy": _version("numpy"),
        "platform": platform.platform(),
        "processor": processor.name(),
        "cpus": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout this code runs from, where it was changed with + and what tells its `code` from that
    of other changes; None outside a checkout."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(root), "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
        said = subprocess.run(git, capture_output=True, text=True, timeout=5).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        return None
    head = next((line.split()[2][:12] for line in said if line.startswith("# branch.oid")), None)
    changed = not all(line.startswith("#") for line in said)
    return head and head + (f"+{code()}" if changed else "")


@cache
def code() -> str:
    """The first digits of the SHA-256 of all that is imported or read of dimbench, as it lies on disk."""
    package = Path(__file__).parent
    beside = [package.parent / name for name in ("kernels", "presets") if not (package / name).is_dir()]
    files = {
        path.relative_to(package if place == package else package.parent).as_posix(): path
        for place in (package, *beside)
        for path in place.rglob("*")
        if path.suffix in _CODE
    }
    whole = hashlib.sha256()
    for name, path in sorted(files.items()):
        whole.update(f"{name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return whole.hexdigest()[:8]


@dataclass(frozen=True)
class Record:
    """One measurement. `conditions` must be equal for two records to be compared; `environment` explains differences;
    `metrics` are plain numbers in SI units; `samples` raw series; `details` tables behind a metric."""

    command: str
    model: str
    conditions: Mapping[str, Any]
    metrics: Mapping[str, float | None]
    warnings: tuple[str, ...] = ()
    samples: Mapping[str, list[float]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=describe_machine)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    schema: int = SCHEMA

    def as_dict(self) -> dict[str, Any]:
        """The record in the order people read it, empty optional parts left out."""
        fields = asdict(self)
        order = ("schema", "command", "model", "conditions", "metrics", "samples", "details")
        ordered = {name: fields[name] for name in (*order, "warnings", "environment", "created")}
        return {name: part for name, part in ordered.items() if part or name not in ("samples", "details")}


def check_writable(path: Path) -> None:
    """Raise DimbenchError now if records cannot be appended to `path` later, UsageError if it holds something else. No
    file is made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") if path.exists() else tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise DimbenchError(
            f"cannot write to {path} ({reason(error)}); give another file with --out or another folder with the "
            "environment variable DIMBENCH_RESULTS"
        ) from None
    if not _takes_records(path):
        raise UsageError(f"{path} holds no JSON lines of records, and is left as it is; give another file with --out")


def _takes_records(path: Path) -> bool:
    """Whether the file is empty or begins as a line of JSON does."""
    if not path.is_file():
        return True
    with path.open("rb") as file:
        head = file.read(4096).removeprefix(BOM_UTF8).lstrip()
    return not head or re.match(rb'\{[ \t]*"', head) is not None


def append(records: Iterable[Record], path: Path) -> None:
    """Add the records to `path` with one write, on disk when this returns."""
    text = "".join(json.dumps(record.as_dict()) + "\n" for record in records)
    check_writable(path)
    if not path.exists() and paths.is_users(path):
        print(f"dimbench: records go to {path}; --out FILE or $DIMBENCH_RESULTS name another place", file=sys.stderr)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(("" if ends_whole(path) else "\n") + text)
            file.flush()
            if path.is_file():  # not /dev/null or a pipe
                os.fsync(file.fileno())
    except OSError as error:
        raise DimbenchError(f"could not append to {path} ({reason(error)}); free some space and run again") from None


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines, or of the JSON array that `--json` prints; a line that a crash cut off is
    left out and said so on stderr.

    Raises DimbenchError for anything but records, and for those of a newer schema.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DimbenchError(f"cannot read records from {path} ({reason(error)}); give a .jsonl file") from None
    return read_bytes(data, str(path))


def read_bytes(data: bytes, path: str) -> list[dict[str, Any]]:
    """As `read`, of what a file holds that is called `path`."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DimbenchError(f"{path} is no record file: it is not text; give a .jsonl file") from None
    if text.lstrip().startswith("["):
        return _of_array(text, path)
    lines = text.removesuffix("\n").split("\n")  # of all line separators JSON escapes only this one within a text
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = _parsed(line, f"{path}: line {number}")
        except json.JSONDecodeError:
            if not line.startswith(_START) and (number < len(lines) or not _START.startswith(line)):
                raise DimbenchError(
                    f"{path} is no record file: line {number} is not JSON; give a .jsonl file"
                ) from None
            last = "the last line" if number == len(lines) else f"line {number}"
            print(f"{path}: {last} is cut off and was left out", file=sys.stderr)
        else:
            records.append(checked(record, f"{path}: line {number}"))
    return records


def so_far(path: Path) -> list[dict[str, Any]]:
    """The records of a file that may not be there yet."""
    return read(path) if path.exists() else []


def sound(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The records in the lines of a cache, which may not be there, and how many lines hold none."""
    text = path.read_bytes().decode("utf-8-sig", errors="replace") if path.is_file() else ""
    found, lines = [], [line for line in text.split("\n") if line.strip()]
    for line in lines:
        with suppress(json.JSONDecodeError, DimbenchError):
            found.append(checked(_parsed(line, str(path)), str(path)))
    return found, len(lines) - len(found)


def _of_array(text: str, path: str) -> list[dict[str, Any]]:
    try:
        found = _parsed(text, path)
    except json.JSONDecodeError:
        raise DimbenchError(f"{path} is no record file: its JSON array is cut off; give a .jsonl file") from None
    return [checked(record, f"{path}: entry {number}") for number, record in enumerate(found, start=1)]


def _parsed(text: str, where: str) -> Any:
    """JSON as a value. Raises JSONDecodeError for what is none, DimbenchError for what only Python's limits refuse."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except (RecursionError, ValueError):
        raise DimbenchError(f"{where} is nested too deeply or has a number of too many digits; {_MEASURED}") from None


def checked(record: Any, where: str) -> dict[str, Any]:
    """The record with nothing in it that a record has not, and no number that is none.

    NaN, infinities, numbers beyond all that is measured, and times and counts below 0 become None, and a metric's is
    said as a warning. Raises DimbenchError unless `record` has what a record has, in a schema that this version reads.
    """
    if not isinstance(record, dict) or not _is_whole(record.get("schema")) or record["schema"] < 1:
        raise DimbenchError(f"{where} is no record of dimbench; {_MEASURED}")
    if record["schema"] > SCHEMA:
        raise DimbenchError(
            f"{where} has schema {record['schema']} and this dimbench reads up to {SCHEMA}; update dimbench"
        )
    kinds = {**_PARTS, **{name: kind for name, kind in _OPTIONAL.items() if name in record}}
    for name, kind in kinds.items():
        if not isinstance(record.get(name), kind) or not _is_shallow(record[name]):
            raise DimbenchError(f"{where} has no {name} that can be read; {_MEASURED}")
    if not _is_time(record["created"]) or not all(isinstance(text, str) for text in record.get("warnings", ())):
        raise DimbenchError(f"{where} has no time or no warnings that can be read; {_MEASURED}")
    if not _is_whole(record["conditions"].get("num_images", 0)):
        raise DimbenchError(f"{where} has no number for num_images; {_MEASURED}")
    whole = {"schema": record["schema"], **{name: _sound(record[name]) for name in kinds}}
    return {**whole, **_figures(record, whole, where)}


def _figures(record: Mapping[str, Any], whole: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Metrics and samples, checked, and the warnings with those that this gives rise to."""
    for name, value in record["metrics"].items():
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise DimbenchError(f"{where} has {value!r} for {name}, which is no number; measure again")
    metrics = {name: _can_be(name, value) for name, value in record["metrics"].items()}
    spoilt = [name for name, value in record["metrics"].items() if value is not None and metrics[name] is None]
    warnings = [f"{name} is no number that can be, and counts as not measured." for name in spoilt]
    samples = {}
    for name, series in record.get("samples", {}).items():
        if isinstance(series, list) and all(_is_number(value) and _can_be(name, value) is not None for value in series):
            samples[name] = series
        else:
            warnings.append(f"The samples of {name} are not all numbers and were left out.")
    said = {"warnings": [*whole.get("warnings", ()), *warnings]} if warnings or "warnings" in whole else {}
    return {"metrics": metrics, **({"samples": samples} if "samples" in whole else {}), **said}


def _can_be(name: str, value: float | None) -> float | None:
    """The value of a metric, None where it is no number that can be."""
    below = value is not None and value < 0 and name.startswith(_COUNTED)
    return None if below else _sound(value)


def _sound(value: Any) -> Any:
    """The value with None for every number that is none or lies beyond all that is measured."""
    if isinstance(value, dict):
        return {name: _sound(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_sound(part) for part in value]
    return None if _is_number(value) and not -_BEYOND < value < _BEYOND else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_shallow(value: Any, depth: int = _DEEPEST) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth > 0 and all(_is_shallow(part, depth - 1) for part in parts)


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def frame(path: str | Path) -> pandas.DataFrame:
    """The records of a file as a table, one row each, every value as the record has it.

    Columns are command, model, created, warnings (a list) and doubtful (whether there are any), then each condition,
    metric, detail (but tables and lists) and entry of the environment by its name. A name that an earlier part has is
    preceded by its own part, as in metrics.rounds. A missing value is NaN, NA or None.
    """
    import pandas

    records = read(Path(path))
    columns: dict[str, list[Any]] = {}
    for part in ("", "conditions", "metrics", "details", "environment"):
        rows = [_entries(record, part) for record in records]
        taken = set(columns)
        for name in dict.fromkeys(name for row in rows for name in row):
            columns[f"{part}.{name}" if name in taken else name] = [row.get(name) for row in rows]
    return pandas.DataFrame({name: _column(values) for name, values in columns.items()})


def _entries(record: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """What a part of a record gives to its row of a frame."""
    if not part:
        names = ("command", "model", "created")
        return {
            **{name: record[name] for name in names},
            "warnings": record.get("warnings", []),
            "doubtful": bool(record.get("warnings")),
        }
    known = record.get(part, {})
    if part == "details":
        return {name: value for name, value in known.items() if not isinstance(value, dict | list)}
    return known


def _column(values: list[Any]) -> pandas.Series:
    """Whole numbers stay whole where some are missing, and nothing becomes a number that is none."""
    import pandas

    known = [value for value in values if value is not None]
    dtype = "object"
    if known and all(map(_is_whole, known)):
        if all(-(2**63) <= value < 2**63 for value in known):
            dtype = "int64" if len(known) == len(values) else "Int64"
    elif known and all(_is_number(value) and float(value) == value for value in known):
        dtype = "float64"
    return pandas.Series(values, dtype=dtype)
