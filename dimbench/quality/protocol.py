"""What decides a figure of quality besides the network: its protocol, and a hash of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dimbench.conditions import PROTOCOL

# Less of FID is no difference between training runs, whatever it is between networks.
TRAININGS = 0.013
FINDING = f"below {100 * TRAININGS:.1f} % nothing is a difference between training runs (arXiv 2606.20536)"

INCEPTION = "inception-v3-compat"  # as records call the extractor that FID means
FRECHET = {
    "fid": "FID",
    "fd_dinov2": "FD-DINOv2",
    "fd_clip": "FD-CLIP",
    "fd_convnextv2": "FD-ConvNeXtV2",
    "fd_dinov2_256": "FD-DINOv2 (256 px)",
    "fd_clip_256": "FD-CLIP (256 px)",
    "fd_mae": "FD-MAE",
    "fd_siglip2": "FD-SigLIP2",
}
# How people call them; {n} images.
METRICS = {
    **{name: f"{said}-{{n}}" for name, said in FRECHET.items()},
    **{f"r{name}": f"r{said}-{{n}}" for name, said in FRECHET.items()},
    "cmmd": "CMMD",
    "clip_score": "CLIP score",
    "sfid": "sFID-{n}",
    "is_mean": "IS",
    "kid_mean": "KID",
    "mind": "MIND",
    "precision": "precision",
    "recall": "recall",
    "precision_vgg": "precision (VGG)",
    "recall_vgg": "recall (VGG)",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "lpips": "LPIPS",
}

DISTANCES = (*FRECHET, *(f"r{name}" for name in FRECHET))  # of which a record has one


def distance(metrics: Mapping[str, Any]) -> str:
    """The name of the Frechet distance among the metrics of a record."""
    return next((name for name in DISTANCES if name in metrics), DISTANCES[0])


def protocol(conditions: Mapping[str, Any]) -> str:
    """Eight digits that are equal where all conditions of PROTOCOL are; those from VGG on count only where they say
    something."""
    first = PROTOCOL.index("vgg_sha256")
    later = [conditions[name] for name in PROTOCOL[first:] if conditions.get(name) not in (None, 1)]
    text = json.dumps([*(conditions.get(name) for name in PROTOCOL[:first]), *later])
    return hashlib.sha256(text.encode()).hexdigest()[:8]
