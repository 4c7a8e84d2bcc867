"""Where things are kept; the only reader of environment variables for places."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import cache
from pathlib import Path

from dimbench.errors import DimbenchError

_CACHE, _DATA = ".cache", ".local/share"


def results_folder() -> Path:
    """Records of measurements, and pictures that nobody named a place for: $DIMBENCH_RESULTS, else results/ in the
    current folder where it is there, else one of the user's."""
    asked, here = os.environ.get("DIMBENCH_RESULTS"), Path("results")
    return Path(asked) if asked else here if here.is_dir() else _users_results()


def _users_results() -> Path:
    return (_in_home(_DATA) or _temporary()) / "results"


def records_file() -> Path:
    return results_folder() / "records.jsonl"


def is_users(file: Path) -> bool:
    """Whether records go there because nobody said where to."""
    return file == records_file() == _users_results() / "records.jsonl"


def reference_results() -> list[Path]:
    """The results this repository ships, in a checkout; a wheel has none."""
    folder = Path(__file__).parent.parent / "results"
    return sorted(folder.glob("*.jsonl")) if (folder.parent / "pyproject.toml").is_file() else []


def cache_folder() -> Path:
    """What can be made again, such as compiled kernels: $DIMBENCH_CACHE, else ~/.cache/dimbench; where a user has no
    home that can be written, as in containers, a temporary folder."""
    return Path(os.environ.get("DIMBENCH_CACHE") or _in_home(_CACHE) or _temporary())


def _in_home(part: str) -> Path | None:
    """None where there is no home, or none that such a folder could be made in."""
    try:
        folder = Path.home() / part / "dimbench"
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
    except (RuntimeError, OSError):
        return None
    return folder if nearest == folder or (nearest.is_dir() and os.access(nearest, os.W_OK)) else None


@cache
def _temporary() -> Path:
    """A folder of this user alone, which is said once. DimbenchError where another user has made it."""
    folder = Path(tempfile.gettempdir(), f"dimbench-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise DimbenchError(f"{folder} belongs to another user; set DIMBENCH_CACHE to a folder of your own")
    print(f"dimbench: there is no home folder to write to; caches are in {folder}", file=sys.stderr)
    return folder


def calibrations_file() -> Path:
    """What `dimbench calibrate` found of the noise of machines, in the cache."""
    return cache_folder() / "calibrations.jsonl"


def weights_folder() -> Path:
    """Published files that were fetched, in the cache."""
    return cache_folder() / "weights"


def step_summary() -> Path | None:
    """Where a step of GitHub Actions leaves Markdown to show: $GITHUB_STEP_SUMMARY."""
    file = os.environ.get("GITHUB_STEP_SUMMARY")
    return Path(file) if file else None


def data_folder() -> Path:
    """The embedded data set and weights, inside the package."""
    return Path(__file__).parent / "data"
