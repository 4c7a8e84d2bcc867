"""The SHA-256 of each file, written down when it first arrives, in a small JSON beside it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dimbench.errors import DimbenchError
from dimbench.files import digest, replacing


def note_of(path: Path) -> Path:
    """The JSON beside the file."""
    return path.with_name(f"{path.name}.sha256.json")


def part_of(path: Path) -> Path:
    """Where the file grows until it is whole."""
    return path.with_name(f"{path.name}.part")


def recorded(path: Path) -> dict[str, Any] | None:
    """What was written down when the file arrived: sha256, size, mtime_ns, source, arrived."""
    note = note_of(path)
    if not note.is_file():
        return None
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        return {name: content[name] for name in ("sha256", "size", "mtime_ns", "source", "arrived")}
    except (ValueError, KeyError, TypeError):
        raise DimbenchError(f"{note} is damaged; delete it, and `dimbench weights check` writes a new one") from None


def state(path: Path) -> str:
    """ "verified", "fetched" (here, but not verified as it is now), "partial" or "absent"."""
    if not path.is_file():
        return "partial" if part_of(path).is_file() else "absent"
    now = path.stat()
    try:
        note = recorded(path)
    except DimbenchError:
        return "fetched"
    unchanged = note is not None and (note["size"], note["mtime_ns"]) == (now.st_size, now.st_mtime_ns)
    return "verified" if unchanged else "fetched"


def settle(arrived: Path, path: Path, source: str) -> str:
    """Move the whole file `arrived` to `path`, write its SHA-256 down and return it.

    Where `path` was here before, the SHA-256 must be the one of then: DimbenchError, and `arrived` is removed.
    """
    sha256 = digest(arrived)
    earlier = recorded(path)
    if earlier and earlier["sha256"] != sha256:
        arrived.unlink()
        raise DimbenchError(
            f"{path.name} from {source} is not the file that was here before: its SHA-256 begins with {sha256[:12]}, "
            f"not {earlier['sha256'][:12]}; fetch it again, or delete {note_of(path)} to take what is there now"
        )
    arrived.replace(path)
    part_of(path).unlink(missing_ok=True)
    _write(path, sha256, source)
    return sha256


def check(path: Path) -> str:
    """Compare the file with what was written down and return its SHA-256; without a note, write one.

    DimbenchError names a file that has changed.
    """
    sha256, note = digest(path), recorded(path)
    if note and note["sha256"] != sha256:
        raise DimbenchError(
            f"{path} is corrupt: its SHA-256 begins with {sha256[:12]}, not {note['sha256'][:12]} as on "
            f"{note['arrived']}; delete it and fetch it again"
        )
    _write(path, sha256, note["source"] if note else "copied by hand", note["arrived"] if note else None)
    return sha256


def _write(path: Path, sha256: str, source: str, arrived: str | None = None) -> None:
    now = path.stat()
    content = {
        "sha256": sha256,
        "size": now.st_size,
        "mtime_ns": now.st_mtime_ns,
        "source": source,
        "arrived": arrived or datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with replacing(note_of(path)) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
