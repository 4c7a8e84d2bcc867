"""The SHA-256 of each file, written down when it first arrives, in a small JSON beside it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dimbench.errors import DimbenchError
from dimbench.files import digest, json_object, replacing
from dimbench.presets import Published
from dimbench.weights.first_bytes import SUFFIXES, kind_of

_NOTED = {"sha256": str, "size": int, "mtime_ns": int, "source": str, "arrived": str}


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
        content = json_object(note)
        if not all(isinstance(content.get(name), kind) for name, kind in _NOTED.items()):
            raise ValueError("it is no note")
        return {name: content[name] for name in _NOTED}
    except (OSError, ValueError):
        raise DimbenchError(f"{note} is damaged; delete it, and `dimbench weights check` writes a new one") from None


def state(path: Path, published: Published) -> str:
    """ "verified", "fetched" (here, but not verified as it is now), "partial" or "absent"."""
    if not path.is_file():
        return "partial" if part_of(path).is_file() else "absent"
    now = path.stat()
    try:
        note = recorded(path)
    except DimbenchError:
        return "fetched"
    unchanged = note is not None and (note["size"], note["mtime_ns"]) == (now.st_size, now.st_mtime_ns)
    as_published = note is not None and not _unlike(published, now.st_size, note["sha256"])
    return "verified" if unchanged and as_published else "fetched"


def settle(arrived: Path, path: Path, source: str, published: Published) -> str:
    """Move the whole file `arrived` to `path`, write its SHA-256 down and return it.

    It must have the size and SHA-256 that are published, where they are known, and where `path` was here before the
    SHA-256 of then: DimbenchError, and `arrived` is removed.
    """
    sha256 = digest(arrived)
    if fault := _unlike(published, arrived.stat().st_size, sha256) or _no_weights(arrived, path):
        arrived.unlink()
        raise DimbenchError(f"{path.name} from {source} {fault}; look at what is there, and fetch it again")
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


def check(path: Path, published: Published) -> str:
    """Compare the file with what is published and with what was written down, and return its SHA-256; without a note,
    write one.

    DimbenchError names a file that is another or has changed.
    """
    sha256, note = digest(path), recorded(path)
    if fault := _unlike(published, path.stat().st_size, sha256) or _no_weights(path, path):
        raise DimbenchError(f"{path} {fault}; delete it and fetch it again")
    if note and note["sha256"] != sha256:
        raise DimbenchError(
            f"{path} is corrupt: its SHA-256 begins with {sha256[:12]}, not {note['sha256'][:12]} as on "
            f"{note['arrived']}; delete it and fetch it again"
        )
    _write(path, sha256, note["source"] if note else "copied by hand", note["arrived"] if note else None)
    return sha256


def _unlike(published: Published, size: int, sha256: str) -> str:
    """In what a file is not the published one; "" where it is as far as is known."""
    if published.size and size != published.size:
        return f"has {size:,} bytes and not the {published.size:,} of the published file"
    if published.sha256 and sha256 != published.sha256:
        return f"is not the published file: its SHA-256 begins with {sha256[:12]}, not {published.sha256[:12]}"
    return ""


def _no_weights(file: Path, place: Path) -> str:
    """What is wrong with a file that by its place should hold weights; "" where it may."""
    if place.suffix not in SUFFIXES:
        return ""
    try:
        kind_of(file)
    except DimbenchError as error:
        return str(error).removeprefix(f"{file} ")
    return ""


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
