"""Skip-DiT against the official implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dimbench.diffusion.guidance import guided
from dimbench.errors import UsageError
from dimbench.models import skip_dit
from tests import golden_data as golden
from tests.models import relatives


def network(name: str) -> Any:
    return relatives.filled(skip_dit, golden.card(f"relatives/{name}.json"))


@pytest.mark.parametrize(("name", "file"), relatives.cases("skipdit-tiny", "skipdit-p4-nosigma", "skipdit-s-2"))
def test_outputs_of_the_official_model(name: str, file: str) -> None:
    _, case = relatives.card_and_case(name, file)
    model = network(name)
    call = guided(model, case["cfg_scale"], 3) if case["mode"] == "forward_with_cfg" else model
    with torch.no_grad():
        relatives.agree(call(*relatives.halves(case)), file)


def test_intermediate_states() -> None:
    _, case = relatives.card_and_case("skipdit-tiny", "skipdit-tiny-a.npz")
    model = network("skipdit-tiny")
    parts = {name: getattr(model, name) for name in ("x_embedder", "t_embedder", "y_embedder")}
    modules = {**parts, "block_0": model.blocks[0], "last_block": model.blocks[-1]}
    with torch.no_grad(), relatives.watched(modules) as seen:
        model(*relatives.halves(case))
    assert set(seen) == set(case["intermediates"])
    for name, ours in seen.items():
        relatives.agree(ours, case["file"], name)


@pytest.mark.parametrize(
    ("name", "row", "resolution"),
    [
        ("skip-dit-xl2", "Skip-DiT-XL/2", 256),
        ("skip-dit-xl2", "Skip-DiT-XL/2", 512),
        ("skip-dit-s2", "Skip-DiT-S/2 (not official)", 256),
        ("skip-dit-b4", "Skip-DiT-B/4 (not official)", 256),
    ],
)
def test_counts_of_the_official_model(name: str, row: str, resolution: int) -> None:
    relatives.check_counts(name, row, resolution)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input_size": 9}, "side 9 .* patches of 2"),
        ({"hidden_size": 100}, "hidden_size 100 .* 16 heads"),
        ({"depth": 27}, "depth 27 .* even"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        skip_dit.Config(**settings)
