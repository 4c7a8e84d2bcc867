"""What networks are told besides x and t."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

Given = Mapping[str, Any]
"""By the names of the network's arguments; tensors have one row for each sample."""


class Classes(Protocol):
    """A Config of a network that is told a class."""

    @property
    def num_classes(self) -> int: ...

    @property
    def null_label(self) -> int | None: ...


def class_conditional(
    config: Classes,
    rows: Sequence[int],
    device: str = "cpu",
    null: bool = False,
    labels: Callable[[int], int] | None = None,
) -> Given:
    """y (N,): the label of each of the samples `rows`, by `labels` or all classes in turn; with `null` "no class"."""
    label = labels or (lambda row: row % config.num_classes)
    return {"y": torch.tensor([config.null_label if null else label(row) for row in rows], device=device)}
