"""Records that nobody measured."""

from __future__ import annotations

from typing import Any


def bench(model: str, seconds: float, spread: float | None = 0.001, **conditions: Any) -> dict[str, Any]:
    """A bench record of one pass; its interval reaches `spread` to either side, as a share; None: it has none."""
    usual = {
        "mode": "inference", "device_name": "NVIDIA A100-SXM4-40GB", "dtype": "fp32", "batch": 1, "resolution": 256,
        "weights": "random", "device": "cuda",
    }  # fmt: skip
    taken = {**usual, **conditions}
    metrics = {"seconds": seconds, "images_per_second": taken["batch"] / seconds, "peak_bytes": 2.5e9}
    if spread is not None:
        metrics |= {"seconds_low": seconds * (1 - spread), "seconds_high": seconds * (1 + spread)}
    created = "2026-01-01T00:00:00+00:00"
    return {"command": "bench", "model": model, "conditions": taken, "metrics": metrics, "created": created}


def fid(model: str, value: float, **conditions: Any) -> dict[str, Any]:
    """A fid record as the settings of most papers make it."""
    usual = {
        "resolution": 256, "weights": "0123456789abcdef", "sampler": "ddpm", "steps": 250, "cfg": 1.5,
        "num_images": 50000, "autoencoder": "/weights/sd-vae-ft-ema",
    }  # fmt: skip
    return {"command": "fid", "model": model, "conditions": {**usual, **conditions}, "metrics": {"fid": value}}
