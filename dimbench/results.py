"""The record of one measurement: JSON lines on disk, a pandas frame in hand."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimbench import __version__
from dimbench.errors import DimbenchError

if TYPE_CHECKING:
    import pandas

SCHEMA = 1
_START = '{"schema"'  # of every line
_PARTS = {"command": str, "model": str, "conditions": dict, "metrics": dict, "environment": dict, "created": str}
_OPTIONAL = {"samples": dict, "details": dict, "warnings": list}


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
        "processor": _processor(),
        "cpus": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str | None:
    """The commit of the checkout this code runs from, with + where it was changed; None outside a checkout."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(root)]
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, timeout=5)
        dirty = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True, timeout=5).returncode
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+" if dirty else "") or None


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
    """Raise DimbenchError now if records cannot be appended to `path` later."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise DimbenchError(
            f"cannot write to {path} ({error.strerror}); give another file with --out or another folder with the "
            "environment variable DIMBENCH_RESULTS"
        ) from None


def append(records: Iterable[Record], path: Path) -> None:
    """Add the records to `path` with one write, on disk when this returns."""
    text = "".join(json.dumps(record.as_dict()) + "\n" for record in records)
    check_writable(path)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(("" if _ends_whole(path) else "\n") + text)
            file.flush()
            if path.is_file():  # not /dev/null or a pipe
                os.fsync(file.fileno())
    except OSError as error:
        raise DimbenchError(f"could not append to {path} ({error.strerror}); free some space and run again") from None


def _ends_whole(path: Path) -> bool:
    """Whether the file's last line was written to its end."""
    if not path.is_file() or not path.stat().st_size:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a file; a line that a crash cut off is left out and said so on stderr.

    Raises DimbenchError for anything but records, and for those of a newer schema.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DimbenchError(f"cannot read records from {path} ({error.strerror}); give a .jsonl file") from None
    except UnicodeDecodeError:
        raise DimbenchError(f"{path} is no record file: it is not text; give a .jsonl file") from None
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            if not line.startswith(_START) and (number < len(lines) or not _START.startswith(line)):
                raise DimbenchError(
                    f"{path} is no record file: line {number} is not JSON; give a .jsonl file"
                ) from None
            last = "the last line" if number == len(lines) else f"line {number}"
            print(f"{path}: {last} is cut off and was left out", file=sys.stderr)
        else:
            _check(record, f"{path}: line {number}")
            records.append(record)
    return records


def _check(record: Any, where: str) -> None:
    """Raise DimbenchError unless `record` has what a record has, in a schema that this version reads."""
    if not isinstance(record, dict) or not isinstance(record.get("schema"), int):
        raise DimbenchError(f"{where} is no record of dimbench; give a .jsonl file that a measuring command wrote")
    if record["schema"] > SCHEMA:
        raise DimbenchError(
            f"{where} has schema {record['schema']} and this dimbench reads up to {SCHEMA}; update dimbench"
        )
    whole = {**{name: kind() for name, kind in _OPTIONAL.items()}, **record}
    for name, kind in {**_PARTS, **_OPTIONAL}.items():
        if not isinstance(whole.get(name), kind):
            raise DimbenchError(f"{where} has no {name}; give a .jsonl file that a measuring command wrote")
    for name, value in record["metrics"].items():
        if not isinstance(value, int | float | None):
            raise DimbenchError(f"{where} has {value!r} for {name}, which is no number; measure again")


def frame(path: str | Path) -> pandas.DataFrame:
    """The records of a file as a table: one row each, metrics and conditions as columns."""
    import pandas

    rows = []
    for record in read(Path(path)):
        base = {name: record[name] for name in ("command", "model", "created")}
        rows.append({**base, **record["conditions"], **record["metrics"]})
    return pandas.DataFrame(rows)
