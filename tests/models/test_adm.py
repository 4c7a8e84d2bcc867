"""ADM, its upsampler and its classifier against the official implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dimbench.counting.bill import trace
from dimbench.counting.parameters import count
from dimbench.counting.rules import RULES
from dimbench.errors import UsageError
from dimbench.meta import shapes_only
from dimbench.models import adm
from tests import example
from tests import golden_data as golden
from tests.models import relatives

TIGHT = 2.5e-6
"""Wider, and a group norm with another epsilon would pass."""

TINY = {
    "input_size": 8,
    "model_channels": 32,
    "channel_mult": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (2,),
}
CLASSIFIERS = {  # side: multipliers, residual blocks
    64: ((1, 2, 3, 4), 4),
    128: ((1, 1, 2, 3, 4), 2),
    256: ((1, 1, 2, 2, 4, 4), 2),
    512: ((0.5, 1, 1, 2, 2, 4, 4), 2),
}


def filled(card: dict[str, Any], case: dict[str, Any]) -> Any:
    """The network of a card, whose names for settings are nearly ours."""
    settings = {"input_size": card["config"]["image_size"]}
    if "low_res_shape" in case:
        settings["low_res_factor"] = case["x_shape"][-1] // case["low_res_shape"][-1]
    return relatives.filled(adm, {**card, "config": {**card["config"], **settings}})


@pytest.mark.parametrize(("name", "file"), relatives.cases("adm-tiny", "adm-tiny-plain", "adm-sr-tiny", "adm-64"))
def test_outputs_of_the_official_model(name: str, file: str) -> None:
    card, case = relatives.card_and_case(name, file)
    model = filled(card, case)
    given = {"y": torch.tensor(case["y"])} if case["y"] else {}
    if "low_res_shape" in case:
        given["low_res"] = golden.unit("input.low_res", *case["low_res_shape"]) * 3**0.5
    with torch.no_grad():
        ours = model(golden.latents(*case["x_shape"]), torch.tensor(case["t"]), **given)
    relatives.agree(ours, file, tolerance=TIGHT)


def test_intermediate_states() -> None:
    card, case = relatives.card_and_case("adm-tiny", "adm-tiny-a.npz")
    model = filled(card, case)
    modules = {
        "time_embed": model.time_embed,
        "input_2_down": model.input_blocks[2],
        "input_3_att": model.input_blocks[3],
        "middle": model.middle_block,
        "output_0": model.output_blocks[0],
    }
    assert set(modules) == set(case["intermediates"])
    with torch.no_grad(), relatives.watched(modules) as seen:
        model(*relatives.halves(case))
    for name, ours in seen.items():
        relatives.agree(ours, "adm-tiny-a.npz", name, TIGHT)


def classifier(**settings: Any) -> Any:
    return adm.Classifier(adm.Config(**settings))


def test_classifier_of_the_official_code() -> None:
    card, case = relatives.card_and_case("adm-classifier-tiny", "adm-classifier-tiny-a.npz")
    known = {**card["config"], "input_size": card["config"]["image_size"]}
    model = classifier(**{name: value for name, value in known.items() if name not in ("cls", "image_size", "pool")})
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == card["state_dict"]
    golden.fill(model.eval())
    with torch.no_grad():
        ours = model(golden.latents(*case["x_shape"]), torch.tensor(case["t"]))
    relatives.agree(ours, "adm-classifier-tiny-a.npz", tolerance=TIGHT)


@pytest.mark.parametrize("side", CLASSIFIERS)
def test_counts_of_the_classifiers(side: int) -> None:
    multipliers, blocks = CLASSIFIERS[side]
    with shapes_only():
        model = classifier(
            input_size=side,
            model_channels=128,
            out_channels=1000,
            channel_mult=multipliers,
            num_res_blocks=blocks,
            attention_resolutions=tuple(side // each for each in (32, 16, 8)),
            num_head_channels=64,
            use_scale_shift_norm=True,
            resblock_updown=True,
        )
        given = {"x": torch.empty(1, 3, side, side), "t": torch.empty(1)}
    ours = RULES["macs"].macs(trace(model, given, 1))
    relatives.check_row("ADM noise classifier", side, count(model), ours)


@pytest.mark.parametrize(
    ("name", "row", "resolution"),
    [
        ("adm-64", "ADM", 64),
        ("adm-128", "ADM", 128),
        ("adm-256", "ADM", 256),
        ("adm-512", "ADM", 512),
        ("adm-up-256", "ADM upsampler 64->256", 256),
        ("adm-up-512", "ADM upsampler 128->512 (multipliers 1,1,2,2,4,4)", 512),
    ],
)
def test_counts_of_the_official_model(name: str, row: str, resolution: int) -> None:
    relatives.check_counts(name, row, resolution)


def small(**settings: Any) -> Any:
    return golden.fill(adm.build(adm.Config(**{**TINY, **settings})).eval())


def test_every_parameter_learns() -> None:
    model = small(num_classes=10, low_res_factor=2, use_scale_shift_norm=True, resblock_updown=True)
    model(**example.inputs(model, 2)).square().sum().backward()
    assert not [n for n, p in model.named_parameters() if n != "label_emb.weight" and not p.grad.abs().sum()]
    assert (model.label_emb.weight.grad.abs().sum(1) > 0).tolist() == [True] * 2 + [False] * 8


def test_heads_on_the_way_up_can_be_others() -> None:
    model = small(num_heads=2, num_heads_upsample=8)
    heads = {path: module.heads for path, module in model.named_modules() if isinstance(module, adm.AttentionBlock)}
    assert {path.split(".")[0]: number for path, number in heads.items()} == {
        "input_blocks": 2,
        "middle_block": 2,
        "output_blocks": 8,
    }


def test_a_fresh_network_draws_zero() -> None:
    model = adm.build(adm.Config(**TINY)).eval()
    with torch.no_grad():
        assert model(**example.inputs(model, 1)).abs().max() == 0


@pytest.mark.parametrize(
    ("settings", "given", "said"),
    [
        ({"num_classes": 10}, {}, "told no class"),
        ({}, {"y": torch.tensor([1])}, "told a class"),
        ({"low_res_factor": 2}, {}, "told no small image"),
        ({}, {"low_res": torch.zeros(1, 3, 4, 4)}, "told a small image"),
    ],
)
def test_what_it_is_told_is_what_it_was_built_for(
    settings: dict[str, Any], given: dict[str, Tensor], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        small(**settings)(torch.zeros(1, 3, 8, 8), torch.zeros(1), **given)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"input_size": 12}, "side 12 cannot be halved 5 times"),
        ({"model_channels": 48}, "1 x 48 channels"),
        ({"low_res_factor": 3}, "not 3 times another"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        adm.Config(**settings)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(UsageError, match="64 channels do not make 7 heads"):
        small(num_heads=7)
