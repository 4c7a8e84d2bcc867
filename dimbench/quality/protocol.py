"""What decides a figure of quality besides the network: its protocol, and a hash of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dimbench.conditions import PROTOCOL

# How people call them; {n} images.
METRICS = {
    "fid": "FID-{n}",
    "sfid": "sFID-{n}",
    "is_mean": "IS",
    "kid_mean": "KID",
    "precision": "precision",
    "recall": "recall",
    "precision_vgg": "precision (VGG)",
    "recall_vgg": "recall (VGG)",
}


def protocol(conditions: Mapping[str, Any]) -> str:
    """Eight digits that are equal where all conditions of PROTOCOL are; those from VGG on count only where they say
    something."""
    first = PROTOCOL.index("vgg_sha256")
    later = [conditions[name] for name in PROTOCOL[first:] if conditions.get(name) not in (None, 1)]
    text = json.dumps([*(conditions.get(name) for name in PROTOCOL[:first]), *later])
    return hashlib.sha256(text.encode()).hexdigest()[:8]
