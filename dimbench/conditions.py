"""Which conditions of records must be equal for what: the only list of them.

A condition that no list here names is part of the work: records that differ in it are never compared, joined into a
curve or put into one column. So one that is new is safe before anyone has thought of it. One that is off (None, False,
empty) counts as not named, so that it may be added without parting old records from new ones.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

Conditions = Mapping[str, Any]

# Where it ran. Times depend on it, counts do not.
MACHINE = ("device_name", "threads")

# What follows from the choice of the model: models that differ in it are compared, two curves of one model are not one.
OF_MODEL = ("kernel", "kernels", "form", "sampler", "weights")

# All that two figures of quality must share; the network and its weights are what is compared. Their order is hashed.
PROTOCOL = (
    "extractor", "extractor_sha256", "resize", "uint8", "reference_sha256", "reference_images", "resolution",
    "num_images", "labels", "sampler", "steps", "cfg", "guided_channels", "autoencoder", "dtype", "seed", "vgg_sha256",
    "upsampling", "methods", "process", "lpips_sha256", "prompts_sha256",
)  # fmt: skip

# What a paper's table states of how it measured, by the command that measures it here.
STATED = {
    "fid": ("resolution", "num_images", "sampler", "steps", "cfg", "autoencoder"),
    "bench": ("resolution", "batch", "device_name", "dtype", "mode"),
}


def is_off(value: Any) -> bool:
    """Whether a condition of this value goes without saying."""
    return value is None or value is False or value in ({}, [], "")


def left(conditions: Conditions, without: Collection[str] = ()) -> dict[str, Any]:
    """Those that are not off and not in `without`."""
    return {name: value for name, value in conditions.items() if name not in without and not is_off(value)}


def key(conditions: Conditions, without: Collection[str] = ()) -> str:
    """The same text for conditions that are equal but for those in `without`."""
    return json.dumps(left(conditions, without), sort_keys=True, default=str)


def differing(a: Conditions, b: Conditions, without: Collection[str] = ()) -> list[str]:
    """The names in which two records differ."""
    one, other = left(a, without), left(b, without)
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def varying(all_conditions: Iterable[Conditions]) -> list[str]:
    """The names that do not have one and the same value everywhere."""
    every = [left(one) for one in all_conditions]
    names = dict.fromkeys(name for one in every for name in one)
    return [name for name in names if any(one.get(name) != every[0].get(name) for one in every)]
