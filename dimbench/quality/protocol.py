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

# How people call them; {n} images.
METRICS = {
    "fid": "FID-{n}",
    "fd_dinov2": "FD-DINOv2-{n}",
    "fd_clip": "FD-CLIP-{n}",
    "cmmd": "CMMD",
    "clip_score": "CLIP score",
    "rfid": "rFID-{n}",
    "rfd_dinov2": "rFD-DINOv2-{n}",
    "rfd_clip": "rFD-CLIP-{n}",
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

DISTANCES = ("fid", "fd_dinov2", "fd_clip", "rfid", "rfd_dinov2", "rfd_clip")  # of which a record has one


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
