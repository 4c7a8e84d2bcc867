"""Golden cases and counts of DiT's relatives: what their cards describe, and how ours are held to it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dimbench import presets
from dimbench.counting.costs import count
from tests import golden_data as golden

TOLERANCE = 1e-5  # other orders of float32 sums
LARGE = 1e8  # parameters
_SAME_COUNT = 6e-5  # G: the table has four decimals


def cases(*names: str) -> list[Any]:
    """(name, file of the case) for every case of the cards `names`, those of large networks marked as slow."""
    found = []
    for name in names:
        card = golden.card(f"relatives/{name}.json")
        marks = pytest.mark.slow if card["all_parameters"] > LARGE else ()
        found += [pytest.param(name, case["file"], marks=marks, id=case["file"]) for case in card["cases"]]
    return found


def card_and_case(name: str, file: str) -> tuple[dict[str, Any], dict[str, Any]]:
    card = golden.card(f"relatives/{name}.json")
    return card, next(case for case in card["cases"] if case["file"] == file)


def filled(family: Any, card: Mapping[str, Any], **settings: Any) -> nn.Module:
    """The network of a card with the formula's weights; its keys, shapes and parameters are the official ones.

    `settings` come before those of the card; what `Config` has no field for is left out.
    """
    known = {field.name for field in fields(family.Config)}
    given = {name: value for name, value in {**card["config"], **settings}.items() if name in known}
    model = family.build(family.Config(**given)).eval()
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == card["state_dict"]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == card["trainable_parameters"]
    return golden.fill(model, tuple(card["fixed"]))


def halves(case: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """x, t and y of a case."""
    return golden.latents(*case["x_shape"]), torch.tensor(case["t"]), torch.tensor(case["y"])


def agree(ours: Tensor, file: str, array: str = "out", tolerance: float = TOLERANCE) -> None:
    """`ours` is what the official implementation returned."""
    assert golden.relative_error(ours, golden.arrays(f"relatives/{file}")[array]) <= tolerance, (file, array)


@contextmanager
def watched(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """What each module returns first, by name."""
    seen: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda _m, _i, output, name=name: seen.setdefault(name, output))
        for name, module in modules.items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def check_counts(name: str, row: str, resolution: int, *, unseen: int = 0, further: int = 0) -> None:
    """The preset has the parameters and MACs of the table's row; `unseen` are MACs of ours that its counter skips,
    `further` parameters that the table leaves out."""
    ours = count(presets.find(name).name, resolution)
    params = {**ours.params, "params": ours.params["params"] - further}
    check_row(row, resolution, params, ours.macs("macs") - unseen)


def check_row(row: str, resolution: int, params: Mapping[str, int], macs: int) -> None:
    """These parameters, as counting.parameters counts them, and MACs stand in the row."""
    with (golden.GOLDEN / "relatives-numbers.csv").open(newline="") as file:
        table = {(line["model"], int(line["resolution"])): line for line in csv.DictReader(file)}
    line = table[row, resolution]
    assert params["params"] == int(line["params_trainable"])
    assert params["params"] + params["params_fixed"] == int(line["params_all"])
    assert abs(macs / 1e9 - float(line["flopcounter_half_gmacs"])) <= _SAME_COUNT
