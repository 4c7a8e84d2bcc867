from __future__ import annotations

import csv
import functools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dimbench import backbone, presets
from dimbench.counting import parameters as params
from dimbench.counting.bill import trace
from dimbench.counting.rules import RULES
from dimbench.errors import UsageError
from dimbench.meta import shapes_only
from dimbench.models import udit
from tests import example, formula, golden_data

# Relative to the largest value: float32 rounding of 44 layers is 3e-6, the other GELU would be 1.2e-4.
GOLDEN = 2e-5
# Merging branches changes the order of float32 sums: 3e-6 is seen.
MERGED = 1e-5
# In float64 nothing but the merged weights' last digits is left.
MERGED_FLOAT64 = 1e-13

NAMES = (
    "udit_tiny",
    "udit_tiny_vanilla",
    "udit_tiny_cos",
    "udit_tiny_rope",
    "udit_tiny_dwffn",
    "udit_tiny_misc",
    "ditunet_tiny",
    "iptunet_tiny_ps",
    "udit_t48",
    "udit_s",
    "udit_b",
)
CARDS = {name: golden_data.card(f"udit/{name}.json") for name in NAMES}
CASES = [
    pytest.param(name, case, id=case["file"], marks=pytest.mark.slow if name == "udit_b" else ())
    for name, card in CARDS.items()
    for case in card["cases"]
]
# The authors' research file has other names for the parts of a block.
RESEARCH_NAMES = {"attn1": "global_attn", "attn2": "local_attn", "mlp1": "global_mlp", "mlp2": "local_mlp"} | {
    f"adaLN_modulation{k}": f"{name}_adaLN_modulation" for k, name in ((1, "global"), (2, "local"))
}
TINY = {"input_size": 16, "hidden_size": 16, "num_heads": 2, "depth": (1, 1, 1, 1, 1), "num_classes": 10}


def config_of(card: dict[str, Any]) -> udit.Config:
    official = card["config"]
    return udit.Config(
        input_size=card["cases"][0]["x_shape"][-1],
        in_channels=official["in_channels"],
        hidden_size=official["hidden_size"],
        depth=official["depth"],
        num_heads=official["num_heads"],
        mlp_ratio=official["mlp_ratio"],
        num_classes=official["num_classes"],
        label_dropout=official["class_dropout_prob"],
        learn_sigma=official["learn_sigma"],
        down_factor=official.get("down_factor", official.get("global_win")),
        downsampler=official.get("downsampler", "none"),
        down_shortcut=official.get("down_shortcut", False),
        attn_type="cosine" if official.get("attn_type") == "v2" else "dot",
        posemb_type=official.get("posemb_type") or "none",
        ffn_type=official["ffn_type"] if official.get("rep", 1) else "depthwise",
    )


@functools.lru_cache(maxsize=1)
def golden_model(name: str) -> udit.UDiT:
    """The network with the formula's weights, which follow the official names."""
    card = CARDS[name]
    model = udit.build(config_of(card)).eval()
    renamed = RESEARCH_NAMES if "original" in card["source_file"] else {}
    official = {key: ".".join(renamed.get(part, part) for part in key.split(".")) for key in model.state_dict()}
    assert {official[key]: list(tensor.shape) for key, tensor in model.state_dict().items()} == card["state_dict"]
    weights = formula.formula_state(card["state_dict"], card["fixed"])
    model.load_state_dict({key: torch.from_numpy(weights[official[key]]) for key in official})
    return model


def case_inputs(case: dict[str, Any]) -> dict[str, Tensor]:
    return {"x": golden_data.latents(*case["x_shape"]), "t": torch.tensor(case["t"]), "y": torch.tensor(case["y"])}


@torch.no_grad()
def output(model: udit.UDiT, case: dict[str, Any]) -> Tensor:
    given = case_inputs(case)
    if case["mode"] == "forward":
        return model(**given)
    half = given["x"][: len(given["x"]) // 2]
    out = model(torch.cat([half, half]), given["t"], given["y"])
    cond, null = out[:, :3].chunk(2)
    return torch.cat([(null + case["cfg_scale"] * (cond - null)).repeat(2, 1, 1, 1), out[:, 3:]], dim=1)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_outputs_equal_the_official_ones(name: str, case: dict[str, Any]) -> None:
    golden = golden_data.arrays(f"udit/{case['file']}")["out"]
    model = golden_model(name)
    assert params.count(model) == {"params": CARDS[name]["trainable_parameters"], "params_fixed": 0, "params_dead": 0}
    assert golden_data.relative_error(output(udit.fuse(model), case), golden) < GOLDEN


@pytest.mark.parametrize("name", ["udit_tiny", "udit_tiny_misc", "udit_t48", "udit_s"])
def test_merging_the_branches_changes_rounding_alone(name: str) -> None:
    model, case = golden_model(name), CARDS[name]["cases"][0]
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    fused = udit.fuse(model)
    trained_form, merged_form = output(model, case), output(fused, case)
    assert golden_data.relative_error(trained_form, golden_data.arrays(f"udit/{case['file']}")["out"]) < GOLDEN
    assert golden_data.relative_error(merged_form, trained_form) < MERGED
    assert not torch.equal(merged_form, trained_form)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert udit.fuse(fused) is fused


def test_merging_is_exact_in_float64() -> None:
    model = udit.build(config_of(CARDS["udit_tiny"])).eval().double()
    golden_data.fill(model)
    x = golden_data.latents(2, 4, 16, 16).double()
    t, y = torch.tensor([3.0, 700.0], dtype=torch.float64), torch.tensor([0, 10])
    with torch.no_grad():
        # The embedding of the time is float32 in both.
        assert golden_data.relative_error(udit.fuse(model)(x, t, y), model(x, t, y)) < MERGED_FLOAT64


def test_the_merged_form_shares_the_other_weights_and_has_its_own_config() -> None:
    model = udit.build(udit.Config(**TINY))
    fused = udit.fuse(model.train())
    assert fused.training
    assert fused.config.ffn_type == "depthwise"
    assert model.config.ffn_type == "rep"
    assert fused.latent[0].attn1.to_qkv.weight is model.latent[0].attn1.to_qkv.weight
    fresh = udit.build(fused.config)
    assert [*fresh.state_dict()] == [*fused.state_dict()]


def test_intermediates_equal_the_official_ones() -> None:
    case = CARDS["udit_tiny"]["cases"][0]
    golden = golden_data.arrays(f"udit/{case['file']}")
    model = udit.fuse(golden_model("udit_tiny"))
    seen: dict[str, Tensor] = {}
    places = {name: name.replace(".last", ".0") for name in case["intermediates"] if not name.startswith("c")}
    for name, path in places.items():
        model.get_submodule(path).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out[:1]}))
    output(model, case)
    given = case_inputs(case)
    for level in (1, 2, 3):
        time, label = (model.get_submodule(f"{kind}_embedder_{level}") for kind in "ty")
        seen[f"c{level}"] = time(given["t"]) + label(given["y"])
    assert seen.keys() == case["intermediates"].keys()
    for name, tensor in seen.items():
        assert golden_data.relative_error(tensor.detach(), golden[name]) < GOLDEN, name


def published_rows() -> list[dict[str, str]]:
    with (golden_data.GOLDEN / "udit-numbers.csv").open(newline="") as file:
        return list(csv.DictReader(file))


PRESET_OF = {
    "U-DiT-S": "udit-s",
    "U-DiT-B": "udit-b",
    "U-DiT-L": "udit-l",
    "U-DiT-S (vanilla)": "udit-s-vanilla",
    "U-DiT-B (vanilla)": "udit-b-vanilla",
    "U-DiT-L (vanilla)": "udit-l-vanilla",
    "DiT-UNet at IPT1K size": "dit-unet",
    "IPT1K-size: pixel-unshuffle only": "udit-t48-unshuffle",
    "IPT1K-size: depthwise-5 without shortcut": "udit-t48-depthwise",
    "IPT1K-size: vanilla U-DiT (depthwise-5 + shortcut)": "udit-t48-vanilla",
    "IPT1K-size: + cosine": "udit-t48-cosine",
    "IPT1K-size: + RoPE2D": "udit-t48-rope",
    "IPT1K-size: + depthwise FFN (rep 0)": "udit-t48-dwffn",
    "IPT1K-size: + re-param (= IPT1K)": "udit-t48",
    "IPT1K-size: ordinary 3x3 downsampler (rep 0)": "udit-t48-conv3",
}


def counted_by_hand(config: udit.Config, merged: bool) -> int:
    """Multiply-adds of one image, stage by stage, from the sizes alone."""
    D, s = config.hidden_size, config.input_size
    kernel = 0 if config.downsampler == "none" else int(config.downsampler[-1]) ** 2

    def layer(side: int, C: int, r: int) -> int:
        n, h = side**2, int(C * config.mlp_ratio)
        before = kernel * n * C * (1 if config.downsampler.startswith("dw") else C)
        attention = 4 * n * C**2 + before + 2 * n**2 * C // r**2
        ffn = 2 * n * C * h
        if config.ffn_type == "rep" and not merged:
            ffn = 2 * n * (C * h // 2 + h * h // 2) + 35 * n * h
        elif config.ffn_type != "basic":
            ffn += 25 * n * h
        return attention + ffn + 6 * C**2

    stages = zip(udit.STRIDES, (1, 2, 4, 2, 2), config.depth, config.down_factors, strict=True)
    blocks = sum(2 * depth * layer(s // stride, wide * D, r) for stride, wide, depth, r in stages)
    n = s**2
    down = n * 9 * D * D // 2 + n // 4 * 9 * 2 * D * D
    up = n // 16 * 9 * 4 * D * 8 * D + n // 4 * 9 * 2 * D * 4 * D
    reduce = n // 4 * 8 * D * D + n * 4 * D * D
    ends = n * 9 * (config.in_channels * D + 4 * D * D + 2 * D * config.out_channels) + 2 * (2 * D) ** 2
    return blocks + down + up + reduce + ends + sum(256 * W + W * W for W in (D, 2 * D, 4 * D))


@pytest.mark.parametrize("row", published_rows(), ids=lambda row: f"{row['model']} {row['resolution']} {row['graph']}")
def test_counts_equal_the_formula_and_the_recorded_figures(row: dict[str, str]) -> None:
    preset = presets.find(PRESET_OF[row["model"]])
    merged = row["graph"] == "eval"
    with shapes_only():
        model = example.built(preset, int(row["resolution"]))
        running = example.of(preset).running(model) if merged else model
    assert params.count(model)["params"] == int(row["trainable_params"])
    if row["fused_inference_params"]:
        assert params.count(running)["params"] == int(row["fused_inference_params"])
    bill = trace(running, example.inputs(running, 1, "meta"), 1)
    macs = RULES["macs"].macs(bill)
    assert macs == counted_by_hand(model.config, merged)
    assert macs / 1e9 == pytest.approx(float(row["flopcounter_half_GMACs"]), abs=0.5e-4)
    norms = sum(line.elements for line in bill.lines if line.operator == "layer_norm")
    assert (macs + 4 * norms) / 1e9 == pytest.approx(float(row["fvcore_GMACs"]), abs=0.5e-4)
    by_authors = RULES["torchprofile"].macs(bill) / 1e9
    # Some rows were not measured but extrapolated from 256 px, with what does not grow by the pixels growing too.
    off = 2e-4 if "derived" in row["note"] else 0.5e-4
    assert by_authors == pytest.approx(float(row["torchprofile_GMACs_(authors_tool)"]), abs=off)
    if merged and preset.resolution == int(row["resolution"]):
        assert preset.counted == {"params": int(row["trainable_params"]), "macs": macs}


@pytest.mark.parametrize("name", ["udit-s", "udit-b", "udit-l", "udit-s-vanilla", "udit-b-vanilla", "udit-l-vanilla"])
def test_claims_are_met_to_the_printed_digit(name: str) -> None:
    preset = presets.find(name)
    assert preset.claims
    for claim in preset.claims:
        with shapes_only():
            model = example.of(preset).running(example.built(preset, claim.resolution))
        bill = trace(model, example.inputs(model, 1, "meta"), 1)
        digits = len(claim.gflops.split(".")[1])
        assert f"{RULES[claim.rule].macs(bill) / 1e9:.{digits}f}" == claim.gflops
        if claim.params:
            assert f"{params.count(model)['params'] / 1e6:.2f}M" == claim.params


def test_a_new_network_returns_zero() -> None:
    config = udit.Config(**TINY)
    given = example.inputs(udit.build(config), 2)
    assert not udit.build(config)(**given).any()


def test_a_new_network_starts_as_the_official_one() -> None:
    torch.manual_seed(0)
    state = udit.build(udit.Config(input_size=16, hidden_size=64, num_heads=4, depth=(1, 1, 1, 1, 1))).state_dict()
    scales = [tensor for name, tensor in state.items() if name.endswith("logit_scale")]
    assert len(scales) == 10
    assert all(torch.equal(scale, torch.full((4, 1, 1), math.log(10))) for scale in scales)
    for name in ("t_embedder_1.mlp.0.weight", "t_embedder_3.mlp.2.weight", "y_embedder_2.embedding_table.weight"):
        assert state[name].std().item() == pytest.approx(0.02, rel=0.05)
    for name, inputs, outputs in (
        ("x_embedder.proj.weight", 4 * 9, 64),  # as a matrix of width rows
        ("output.weight", 128 * 9, 128 * 9),
        ("latent.0.mlp1.dwconv.0.weight", 25, 512 * 25),
        ("latent.0.attn1.to_qkv.weight", 256, 768),
    ):
        assert state[name].abs().max().item() == pytest.approx(math.sqrt(6 / (inputs + outputs)), rel=0.01), name


def test_every_parameter_receives_a_gradient() -> None:
    model = golden_data.fill(udit.build(udit.Config(**TINY))).train()
    model(golden_data.latents(2, 4, 16, 16), torch.tensor([3.0, 900.0]), torch.tensor([1, 2])).square().sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def test_labels_are_dropped_for_each_level_on_its_own() -> None:
    model = udit.build(udit.Config(**{**TINY, "label_dropout": 0.5})).train()
    torch.manual_seed(0)
    y = torch.zeros(64, dtype=torch.long)
    masks = [
        (getattr(model, f"y_embedder_{k}")(y) == getattr(model, f"y_embedder_{k}").embedding_table.weight[10]).all(1)
        for k in (1, 2, 3)
    ]
    assert all(mask.any() and not mask.all() for mask in masks)
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[1], masks[2])


def test_the_scale_of_the_cosines_is_held_below_its_largest() -> None:
    config = udit.Config(**TINY)
    attention = golden_data.fill(udit.Attention(config, 16, 2))
    x = golden_data.latents(1, 16, 8, 8)
    outputs = []
    with torch.no_grad():
        for scale in (4.5, 4.6052, 4.7):
            attention.logit_scale.fill_(scale)
            outputs.append(attention(x, None))
    assert torch.equal(outputs[1], outputs[2])
    assert not torch.equal(outputs[0], outputs[1])


def test_splitting_a_map_groups_pixels_by_parity_and_joining_undoes_it() -> None:
    x = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    parts = udit.split_map(x, 2)
    assert parts.shape == (8, 6, 3)
    for batch, parity, token in ((0, 0, 0), (1, 3, 5), (1, 2, 4)):
        row, column = 2 * (token // 3) + parity // 2, 2 * (token % 3) + parity % 2
        assert torch.equal(parts[4 * batch + parity, token], x[batch, :, row, column])
    assert torch.equal(udit.join_map(parts, 2, 4, 6), x)


@pytest.mark.parametrize("side", [8, 16, 24, 40])
def test_any_side_that_the_stages_divide_runs(side: int) -> None:
    config = udit.Config(**{**TINY, "input_size": side})
    with torch.no_grad():
        model = udit.build(config)
        assert model(**example.inputs(model, 1)).shape == (1, 8, side, side)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input_size": 12}, "latent of side 12 .* multiple of 8"),
        ({"input_size": 0}, "multiple of 8"),
        ({"input_size": 16, "down_factor": [4, 2, 3, 2, 4]}, "multiple of 12"),
        ({"depth": [2, 5, 8]}, "depth .* give five numbers"),
        ({"depth": [2, 5, 0, 5, 2]}, "depth .* numbers of at least 1"),
        ({"down_factor": [2, 2]}, "down_factor .* one per stage"),
        ({"hidden_size": 100, "num_heads": 16}, "hidden_size 100 .* multiple of 64"),
        ({"hidden_size": 33, "num_heads": 3, "posemb_type": "none"}, "multiple of 6"),
        ({"attn_type": "v3"}, "attn_type 'v3' is unknown; known are dot, cosine"),
        ({"posemb_type": "rope1d"}, "posemb_type"),
        ({"ffn_type": "swiglu"}, "ffn_type"),
        ({"downsampler": "dwconv4"}, "downsampler 'dwconv4'"),
        ({"downsampler": "none"}, "down_shortcut"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        udit.Config(**settings)


def test_a_resolution_that_does_not_fit_is_named() -> None:
    with pytest.raises(UsageError, match=r"udit-s at resolution 264: .* multiple of 8"):
        backbone.create_model("udit-s", resolution=264)
