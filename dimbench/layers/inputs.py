"""What networks are told besides x and t."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

Given = Mapping[str, Any]
"""By the names of the network's arguments; tensors have one row for each sample."""


class ClassTold(Protocol):
    """A Config of a network that is told a class."""

    @property
    def num_classes(self) -> int: ...

    @property
    def null_label(self) -> int | None: ...


def class_conditional(
    config: ClassTold,
    rows: Sequence[int],
    device: str = "cpu",
    null: bool = False,
    labels: Callable[[int], int] | None = None,
) -> Given:
    """y (N,): the label of each of the samples `rows`, by `labels` or all classes in turn; with `null` "no class"."""
    label = labels or (lambda row: row % config.num_classes)
    return {"y": torch.tensor([config.null_label if null else label(row) for row in rows], device=device)}


_NULL_SEED = 2**40  # no sample's index


def random_rows(rows: Sequence[int], shape: Sequence[int], device: str = "cpu", null: bool = False) -> Tensor:
    """(N, *shape) standard normal, each sample's own in every run; with `null` the same for all. In place of a text's
    embedding, where no text is at hand."""
    if device == "meta":
        return torch.empty(len(rows), *shape, device=device)
    seeds = [_NULL_SEED if null else row for row in rows]
    drawn = [torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(drawn).to(device)
