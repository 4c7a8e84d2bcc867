"""The embedded data set: 1,797 handwritten digits of 8 x 8 pixels in ten classes (origin and licence in README.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from dimbench.errors import UsageError

Split = Literal["train", "held-out", "all"]

FILE = Path(__file__).with_name("digits.npz")
CLASSES = 10
SIZE = 8
MAX_VALUE = 16


def load(split: Split = "all") -> tuple[Tensor, Tensor]:
    """Images (N, 1, 8, 8), float32 in [-1, 1], and labels (N,), int64, in the file's order.

    `train` has 1,294 images, `held-out` 503, `all` 1,797. Raises UsageError for another split.
    """
    if split not in get_args(Split):
        raise UsageError(f"The digits have no split {split!r}: choose one of {', '.join(get_args(Split))}.")
    with np.load(FILE) as file:
        pixels, labels = torch.from_numpy(file["images"]), torch.from_numpy(file["labels"])
    images = pixels[:, None].float() * (2 / MAX_VALUE) - 1
    if split == "all":
        return images, labels
    chosen = held_out(labels) if split == "held-out" else ~held_out(labels)
    return images[chosen], labels[chosen]


def held_out(labels: Tensor) -> Tensor:
    """A mask (N,) of the images held back: five of every eighteen of a class, evenly spread in the file's order.

    The j-th image of a class (from 0) is held back where 5 j mod 18 < 5. Spread out rather than cut off at the end,
    because nothing says that the file's order is random.
    """
    occurrence = torch.empty_like(labels)
    for label in range(CLASSES):
        members = labels == label
        occurrence[members] = torch.arange(int(members.sum()))
    return (5 * occurrence) % 18 < 5
