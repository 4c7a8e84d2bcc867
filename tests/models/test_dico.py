"""DiCo against the official implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dimbench.diffusion.guidance import guided
from dimbench.errors import UsageError
from dimbench.models import dico
from tests.models import relatives


@pytest.mark.parametrize(("name", "file"), relatives.cases("dico-tiny", "dico-s"))
def test_outputs_of_the_official_model(name: str, file: str) -> None:
    card, case = relatives.card_and_case(name, file)
    model: Any = relatives.filled(dico, card)
    network = guided(model, case["cfg_scale"], 3) if case["mode"] == "forward_with_cfg" else model
    with torch.no_grad():
        relatives.agree(network(*relatives.halves(case)), file)


def test_intermediate_states() -> None:
    card, case = relatives.card_and_case("dico-tiny", "dico-tiny-a.npz")
    model: Any = relatives.filled(dico, card)
    modules = {
        "ca_0": model.encoder_level_1[0].ca,
        "encoder_level_1_0": model.encoder_level_1[0],
        "latent_0": model.latent[0],
        **{name: getattr(model, name) for name in case["intermediates"] if hasattr(model, name)},
    }
    assert set(modules) == set(case["intermediates"])
    with torch.no_grad(), relatives.watched(modules) as seen:
        model(*relatives.halves(case))
    for name, ours in seen.items():
        relatives.agree(ours, "dico-tiny-a.npz", name)


@pytest.mark.parametrize("resolution", [256, 512])
@pytest.mark.parametrize("size", ["S", "B", "L", "XL", "H"])
def test_counts_of_the_official_model(size: str, resolution: int) -> None:
    relatives.check_counts(f"dico-{size}", f"DiCo-{size}", resolution)


@pytest.mark.parametrize(
    "settings", [{"input_size": 6}, {"hidden_size": 33}, {"depth": (1, 1, 1)}, {"mlp_ratio": 0.001}]
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=str(next(iter(settings.values()))).strip("()").split(",")[0]):
        dico.Config(**settings)
