"""Whole networks against the official implementations' outputs under formula weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import dimbench
from dimbench.diffusion.guidance import adaptive_scale, guided
from tests import golden_data as golden

# As the specifications set them: rounding of a different order of float32 sums, largest in the deepest networks.
TOLERANCE = {"dit": 2e-5, "dit guided": 5e-5, "dimsum": 5e-6, "dimsum tiny": 2e-6}

NAMES = {"class_dropout_prob": "label_dropout", "latent_size": "input_size"}
OFFICIAL_FLAGS = {"image_size", "block_type", "cond_mamba", "rms_norm", "fused_add_norm", "learnable_pe"}

LARGE = 1.9e8


def cards() -> Iterator[Any]:
    """Every description of a model, the largest marked as slow."""
    for family in ("dit", "dimsum"):
        for path in sorted((golden.GOLDEN / family).glob("*.json")):
            name = f"{family}/{path.name}"
            card = golden.card(name)
            if "cases" in card:
                slow = card["all_parameters"] > LARGE
                yield pytest.param(name, marks=pytest.mark.slow if slow else ())


def build(card: dict[str, Any]) -> torch.nn.Module:
    """The model of a card, through the public door, with the formula's weights."""
    family = "dimsum-l2" if "scan_type" in card["config"] else "sit-s2" if card["model"].startswith("SiT") else "dit-s2"
    settings = {NAMES.get(k, k): v for k, v in card["config"].items() if k not in OFFICIAL_FLAGS}
    model = dimbench.create_model(family, **settings)
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == card["state_dict"]
    return golden.fill(model, tuple(card["fixed"]))


@pytest.mark.parametrize("path", cards())
def test_outputs_of_the_official_model(path: str) -> None:
    card = golden.card(path)
    model = build(card)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == card["trainable_parameters"]
    family = path.split("/")[0]
    for case in card["cases"]:
        network, kind = model, family + (" tiny" if "tiny" in path else "")
        if case["mode"] == "forward_with_cfg":
            network = guided(model, case["cfg_scale"], 3 if family == "dit" else None)
            kind += " guided" if family == "dit" else ""
        x = golden.latents(*case["x_shape"])
        with torch.no_grad():
            ours = network(x, torch.tensor(case["t"]), torch.tensor(case["y"]))
        expected = golden.arrays(f"{family}/{case['file']}")["out"]
        assert golden.relative_error(ours, expected) <= TOLERANCE[kind], case["file"]


def test_adaptive_guidance_of_dimsum() -> None:
    model = build(golden.card("dimsum/dimsum-tiny.json"))
    x = golden.latents(2, 4, 16, 16)[:1].repeat(2, 1, 1, 1)
    with torch.no_grad():
        ours = guided(model, adaptive_scale(3.8, 4.0), None)(x, torch.tensor([0.3, 0.3]), torch.tensor([3, 10]))
    expected = golden.arrays("dimsum/sampling.npz")["tiny_adacfg_forward"]
    assert golden.relative_error(ours, expected) <= TOLERANCE["dimsum tiny"]


def test_label_none_is_the_last_row() -> None:
    model = build(golden.card("dimsum/dimsum-tiny.json"))
    x, t = golden.latents(2, 4, 16, 16), torch.tensor([0.25, 0.9])
    with torch.no_grad():
        assert torch.equal(model(x, t), model(x, t, torch.tensor([10, 10])))


def test_intermediate_states_of_dit() -> None:
    model = build(golden.card("dit/DiT-S-8-256.json"))
    expected = golden.arrays("dit/DiT-S-8-256.forward.npz")
    watched = {
        "t_embedding": model.t_embedder,
        "y_embedding": model.y_embedder,
        "after_block_first": model.blocks[0],
        "after_block_last": model.blocks[-1],
        "after_final_layer": model.final_layer,
    }
    seen: dict[str, torch.Tensor] = {}
    for name, module in watched.items():
        module.register_forward_hook(lambda _m, _i, output, name=name: seen.__setitem__(name, output))
    with torch.no_grad():
        model(golden.latents(2, 4, 32, 32), torch.tensor([17, 903]), torch.tensor([207, 1000]))
    for name, ours in seen.items():
        assert golden.relative_error(ours, expected[name]) <= TOLERANCE["dit"], name
    assert set(seen) == set(watched)


def test_intermediate_states_of_dimsum() -> None:
    model = build(golden.card("dimsum/dimsum-tiny.json"))
    expected = golden.arrays("dimsum/tiny_forward.npz")
    seen: dict[str, torch.Tensor] = {}

    def watch(name: str, module: torch.nn.Module, pick: int | None = None) -> None:
        def keep(_module: Any, _inputs: Any, output: Any) -> None:
            seen.setdefault(name, (output if pick is None else output[pick])[:1])

        module.register_forward_hook(keep)

    for index in (0, 1, 2, 3, 7):
        watch(f"block{index}_hidden", model.blocks[index], 0)
        watch(f"block{index}_residual", model.blocks[index], 1)
    for index in (0, 1):
        watch(f"block{index}_spatial_hidden", model.blocks[index].spatial_mamba)
        watch(f"block{index}_freq_hidden", model.blocks[index].freq_mamba)
    for name, module in (
        ("block0_fusion", model.blocks[0].proj),
        ("attn_first", model.attn_block),
        ("t_embedder", model.t_embedder),
        ("y_embedder", model.y_embedder),
        ("x_embedder", model.x_embedder),
        ("final_layer", model.final_layer),
    ):
        watch(name, module)
    with torch.no_grad():
        model(golden.latents(2, 4, 16, 16), torch.tensor([0.25, 0.9]), torch.tensor([3, 10]))
    for name, ours in seen.items():
        assert golden.relative_error(ours, expected[name]) <= TOLERANCE["dimsum tiny"], name
    assert set(seen) == set(expected) - {"out"}


def test_condition_projection_is_dead() -> None:
    """The official kernel overwrites what cond_proj writes: its weights must not matter."""
    model = build(golden.card("dimsum/dimsum-tiny.json"))
    inputs = golden.latents(2, 4, 16, 16), torch.tensor([0.25, 0.9]), torch.tensor([3, 10])
    with torch.no_grad():
        before = model(*inputs)
        for name, parameter in model.named_parameters():
            if "cond_proj" in name:
                parameter.fill_(7.0)
        assert torch.equal(before, model(*inputs))
