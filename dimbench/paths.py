"""Where things are kept; the only reader of environment variables for places."""

from __future__ import annotations

import os
from pathlib import Path


def results_folder() -> Path:
    """Records of measurements: $DIMBENCH_RESULTS, else results/ in the current folder."""
    return Path(os.environ.get("DIMBENCH_RESULTS", "results"))


def records_file() -> Path:
    return results_folder() / "records.jsonl"


def reference_results() -> list[Path]:
    """The results this repository ships, in a checkout; a wheel has none."""
    folder = Path(__file__).parent.parent / "results"
    return sorted(folder.glob("*.jsonl")) if (folder.parent / "pyproject.toml").is_file() else []


def cache_folder() -> Path:
    """What can be made again, such as compiled kernels: $DIMBENCH_CACHE, else ~/.cache/dimbench."""
    return Path(os.environ.get("DIMBENCH_CACHE") or Path.home() / ".cache" / "dimbench")


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
