"""Records and rounds to compare, made up."""

from __future__ import annotations

import random
from typing import Any

CONDITIONS = {"batch": 1, "device": "cpu", "device_name": "a processor", "threads": 1}
ENVIRONMENT = {"processor": "a processor", "cpus": 2, "commit": "0123"}


def entry(created: int = 0, command: str = "bench", model: str = "dit-digits", **changes: Any) -> dict[str, Any]:
    """A record as `results.read` gives it; `changes` go to metrics, conditions or environment, wherever they belong."""
    metrics = {"seconds": 0.01, "images_per_second": 100.0, "macs": 1000, "params": 10} if command == "bench" else {}
    conditions = CONDITIONS | {k: v for k, v in changes.items() if k in (*CONDITIONS, "kernel", "seed")}
    environment = ENVIRONMENT | {k: v for k, v in changes.items() if k in ENVIRONMENT}
    metrics |= {k: v for k, v in changes.items() if k not in conditions and k not in environment}
    return {
        "schema": 1,
        "command": command,
        "model": model,
        "conditions": conditions,
        "metrics": metrics,
        "warnings": [],
        "environment": environment,
        "created": f"2026-01-01T00:{created // 60:02}:{created % 60:02}+00:00",
    }


def noisy(count: int, factor: float = 1.0, spread: float = 0.02, seed: int = 0) -> list[float]:
    """Seconds of `count` processes with a lognormal spread, `factor` slower than 10 ms."""
    lot = random.Random(seed)
    return [0.01 * factor * lot.lognormvariate(0, spread) for _ in range(count)]
