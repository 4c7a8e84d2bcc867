"""LightningDiT against the official implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dimbench.diffusion.flow import Flow, flow_errors
from dimbench.diffusion.guidance import ConditionedNetwork, guided, within
from dimbench.errors import UsageError
from dimbench.models import lightningdit
from tests import golden_data as golden
from tests.models import relatives

# The class's own defaults, which the plain card leaves in place.
PLAIN = {"use_swiglu": False, "use_rope": False, "use_rmsnorm": False}
FLOW = Flow(shift=0.3, cosine=True)


def network(name: str) -> Any:
    settings = PLAIN if name.endswith("plain") else {}
    return relatives.filled(lightningdit, golden.card(f"relatives/{name}.json"), **settings)


def guided_network(case: dict[str, Any]) -> ConditionedNetwork:
    scale = within(case["cfg_scale"], case["cfg_interval_start"], 1.0, ends=True)
    return guided(network("lightningdit-tiny"), scale, 3)


NAMES = ("lightningdit-tiny", "lightningdit-tiny-plain", "lightningdit-b-1")


@pytest.mark.parametrize(("name", "file"), [case for case in relatives.cases(*NAMES) if case.id.endswith("-a.npz")])
def test_outputs_of_the_official_model(name: str, file: str) -> None:
    _, case = relatives.card_and_case(name, file)
    with torch.no_grad():
        relatives.agree(network(name)(*relatives.halves(case)), file)


def test_intermediate_states() -> None:
    _, case = relatives.card_and_case("lightningdit-tiny", "lightningdit-tiny-a.npz")
    model = network("lightningdit-tiny")
    parts = {name: getattr(model, name) for name in ("x_embedder", "t_embedder", "y_embedder", "final_layer")}
    modules = {**parts, "block_0": model.blocks[0], "last_block": model.blocks[-1]}
    with torch.no_grad(), relatives.watched(modules) as seen:
        model(*relatives.halves(case))
    assert set(seen) == set(case["intermediates"])
    for name, ours in seen.items():
        relatives.agree(ours, case["file"], name)


@pytest.mark.parametrize("file", ["lightningdit-tiny-cfg.npz", "lightningdit-tiny-cfg-below.npz"])
def test_guidance_acts_on_three_channels_from_its_start_on(file: str) -> None:
    _, case = relatives.card_and_case("lightningdit-tiny", file)
    with torch.no_grad():
        relatives.agree(guided_network(case)(*relatives.halves(case)), file)


def test_a_sample_of_the_official_sampler() -> None:
    _, case = relatives.card_and_case("lightningdit-tiny", "lightningdit-tiny-euler.npz")
    pair, y = guided_network(case), torch.tensor(case["y"])
    x = golden.latents(*case["x_shape"])[:1].repeat(2, 1, 1, 1)
    ours = FLOW.sample(lambda x, t: pair(x, t, y), x, golden.noise, "euler", case["num_sampling_steps"])
    relatives.agree(ours, case["file"])


def test_both_terms_of_the_official_loss() -> None:
    _, case = relatives.card_and_case("lightningdit-tiny", "lightningdit-tiny-loss.npz")
    model, y = network("lightningdit-tiny"), torch.tensor(case["y"])
    noise = golden.unit("input.noise", *case["x_shape"]) * 3**0.5
    with torch.no_grad():
        errors = flow_errors(
            lambda x, t: model(x, t, y), golden.latents(*case["x_shape"]), noise, torch.tensor(case["t"]), FLOW
        )
    relatives.agree(torch.stack([error.mean() for error in errors]), case["file"])


@pytest.mark.parametrize("resolution", [256, 512])
@pytest.mark.parametrize("size", ["B", "XL", "1p0B", "1p6B"])
def test_counts_on_its_own_latents(size: str, resolution: int) -> None:
    relatives.check_counts(f"lightningdit-{size}1", f"LightningDiT-{size}/1", resolution)


@pytest.mark.parametrize("size", ["B", "L", "XL", "1p0B", "1p6B"])
def test_counts_on_the_latents_of_stable_diffusion(size: str) -> None:
    relatives.check_counts(f"lightningdit-{size}2", f"LightningDiT-{size}/2 (SD-VAE latent)", 256)


def test_without_shifts_a_block_scales_and_gates() -> None:
    settings = {"input_size": 4, "hidden_size": 16, "depth": 1, "num_heads": 2, "wo_shift": True, "use_qknorm": True}
    block = golden.fill(lightningdit.build(lightningdit.Config(**settings)).blocks[0])
    x, c = golden.latents(2, 5, 16), golden.unit("c", 2, 16)
    with torch.no_grad():
        parts = block.adaLN_modulation(c)[:, None].unflatten(-1, (4, 16)).unbind(-2)
        middle = x + parts[1] * block.attn(block.norm1(x) * (1 + parts[0]))
        expected = middle + parts[3] * block.mlp(block.norm2(middle) * (1 + parts[2]))
        torch.testing.assert_close(block(x, c), expected)


@pytest.mark.parametrize("rms", [True, False])
def test_normed_queries_follow_the_norm_of_the_tokens(rms: bool) -> None:
    settings = {"input_size": 4, "hidden_size": 16, "depth": 1, "num_heads": 2, "use_qknorm": True}
    names = lightningdit.build(lightningdit.Config(**settings, use_rmsnorm=rms)).state_dict()
    own = [name for name in names if "norm" in name]
    normed = [f"blocks.0.attn.{part}_norm.{leaf}" for part in "qk" for leaf in ("weight", "bias")[: 2 - rms]]
    tokens = ["blocks.0.norm1.weight", "blocks.0.norm2.weight", "final_layer.norm_final.weight"] if rms else []
    assert sorted(own) == sorted(normed + tokens)


def test_no_class_needs_a_row_of_its_own() -> None:
    assert lightningdit.Config(class_dropout_prob=0).null_label is None
    assert lightningdit.Config().null_label == 1000


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"input_size": 9, "patch_size": 2}, "9 .* patches of 2"), ({"hidden_size": 72}, "hidden_size 72 .* of 64")],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        lightningdit.Config(**settings)
