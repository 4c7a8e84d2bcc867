"""MMDiT against the official implementation, and against that of diffusers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dimbench import backbone, presets
from dimbench.diffusion.process import find_process
from dimbench.errors import DimbenchError, UsageError
from dimbench.layers.embed import sincos_2d
from dimbench.models import mmdit
from dimbench.weights.checkpoints import load_checkpoint
from tests import golden_data as golden
from tests.models import relatives

TINY = mmdit.Config(
    input_size=8, depth=2, adm_in_channels=24, context_dim=20, context_tokens=5, pos_embed_max_size=12, qk_norm="rms"
)
SAME = 2e-6  # float32, relative to the largest value: diffusers puts the image before the text
NAMES = ("mmdit-tiny", "mmdit-tiny-rmsqk", "mmdit-d12")


def network(name: str) -> Any:
    card = golden.card(f"relatives/{name}.json")
    text = card["config"]["context_embedder_config"]["params"]["in_features"]
    return relatives.filled(mmdit, card, input_size=8, context_dim=text)


def told(vector: list[int], context: list[int]) -> tuple[Tensor, Tensor]:
    return golden.unit("input.y", *vector) * 3**0.5, golden.unit("input.context", *context) * 3**0.5


@pytest.mark.parametrize(("name", "file"), relatives.cases(*NAMES))
def test_outputs_of_the_official_model(name: str, file: str) -> None:
    _, case = relatives.card_and_case(name, file)
    x, t = golden.latents(*case["x_shape"]), torch.tensor(case["t"])
    with torch.no_grad():
        relatives.agree(network(name)(x, t, *told(case["vector_shape"], case["context_shape"])), file)


def test_intermediate_states() -> None:
    _, case = relatives.card_and_case("mmdit-tiny", "mmdit-tiny-a.npz")
    model = network("mmdit-tiny")
    modules = {name: getattr(model, name) for name in case["intermediates"]}
    x, t = golden.latents(*case["x_shape"]), torch.tensor(case["t"])
    with torch.no_grad(), relatives.watched(modules) as seen:
        model(x, t, *told(case["vector_shape"], case["context_shape"]))
    for name, ours in seen.items():
        relatives.agree(ours, case["file"], name)


@pytest.mark.parametrize(
    ("name", "row", "resolution"),
    [
        ("mmdit-d12", "MMDiT d12 (small)", 256),
        ("mmdit-d18", "MMDiT d18", 256),
        ("mmdit-d24", "SD3-medium MMDiT d24", 256),
        ("mmdit-d24", "SD3-medium MMDiT d24", 512),
        ("mmdit-d24", "SD3-medium MMDiT d24", 1024),
        ("mmdit-d38", "SD3-8B MMDiT d38 (qk rms)", 1024),
    ],
)
def test_counts_of_the_official_model(name: str, row: str, resolution: int) -> None:
    relatives.check_counts(name, row, resolution)


def diffusers_network(config: mmdit.Config) -> Any:
    from diffusers import SD3Transformer2DModel

    return SD3Transformer2DModel(
        sample_size=2 * mmdit.BASE_SIDE,
        patch_size=config.patch_size,
        in_channels=config.in_channels,
        num_layers=config.depth,
        attention_head_dim=mmdit.HEAD,
        num_attention_heads=config.depth,
        joint_attention_dim=config.context_dim,
        caption_projection_dim=config.hidden_size,
        pooled_projection_dim=config.adm_in_channels,
        out_channels=config.in_channels,
        pos_embed_max_size=config.pos_embed_max_size,
        qk_norm="rms_norm" if config.qk_norm else None,
    ).eval()


@pytest.mark.parametrize("qk_norm", ["rms", None])
def test_weights_go_to_diffusers_and_back_and_draw_the_same(qk_norm: str | None) -> None:
    config = replace(TINY, qk_norm=qk_norm)
    ours: Any = golden.fill(mmdit.build(config)).eval()
    theirs = diffusers_network(config)
    named = mmdit.to_diffusers(ours.state_dict(), config)
    assert {n: t.shape for n, t in named.items()} == {n: t.shape for n, t in theirs.state_dict().items()}
    theirs.load_state_dict(named)
    x, t = golden.latents(2, 16, 8, 12), torch.tensor([37.0, 812.5])
    y, context = told([2, 24], [2, 5, 20])
    with torch.no_grad():
        expected = ours(x, t, y, context)
        again = load_checkpoint(mmdit.build(config), theirs.state_dict())(x, t, y, context)
        out = theirs(x, encoder_hidden_states=context, pooled_projections=y, timestep=t).sample
    assert golden.relative_error(out, expected) < SAME
    assert torch.equal(again, expected)


def test_positions_of_a_fresh_network_are_those_of_diffusers() -> None:
    theirs = diffusers_network(TINY).state_dict()["pos_embed.pos_embed"]
    torch.testing.assert_close(mmdit.build(TINY).pos_embed, theirs, atol=1e-5, rtol=0)  # float32 of angles up to 64


def test_positions_are_cut_from_the_middle_of_the_table() -> None:
    model = mmdit.build(TINY)
    whole = sincos_2d(TINY.hidden_size, 12, mmdit.BASE_SIDE / 12).view(12, 12, -1)
    assert torch.equal(model._positions(3, 6)[0].view(3, 6, -1), whole[4:7, 3:9])
    with pytest.raises(UsageError, match=r"13 x 2 patches .* positions for 12 x 12"):
        model._positions(13, 2)


def test_the_network_is_taken_out_of_a_single_file() -> None:
    model = golden.fill(mmdit.build(TINY))
    state = model.state_dict()
    inside = {f"model.diffusion_model.{name}": tensor for name, tensor in state.items()}
    whole = {**inside, "first_stage_model.decoder.conv_in.weight": torch.zeros(2)}
    fresh = load_checkpoint(mmdit.build(TINY), whole)
    assert all(torch.equal(tensor, state[name]) for name, tensor in fresh.state_dict().items())
    short = mmdit.to_diffusers(state, TINY)
    del short["transformer_blocks.1.attn.to_k.weight"]
    with pytest.raises(DimbenchError, match=r"1 missing \(joint_blocks.1.x_block.attn.qkv.weight\)"):
        load_checkpoint(mmdit.build(TINY), short)


def test_options_have_the_official_names_and_shapes() -> None:
    settings = {"rmsnorm": True, "swiglu": True, "scale_mod_only": True, "register_length": 3, "learn_sigma": True}
    config = replace(TINY, qk_norm="ln", qkv_bias=False, **settings)
    model: Any = golden.fill(mmdit.build(config))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    width, hidden = 128, 512  # 256 times ceil(int(2/3 * 512) / 256)
    block = "joint_blocks.0.x_block"
    assert shapes[f"{block}.mlp.w1.weight"] == (hidden, width)
    assert shapes[f"{block}.mlp.w2.weight"] == (width, hidden)
    assert shapes[f"{block}.attn.ln_q.bias"] == (64,)
    assert shapes[f"{block}.adaLN_modulation.1.weight"] == (4 * width, width)
    assert shapes["joint_blocks.1.context_block.adaLN_modulation.1.weight"] == (width, width)
    assert shapes["register"] == (1, 3, width)
    assert f"{block}.attn.qkv.bias" not in shapes
    assert "joint_blocks.1.context_block.attn.proj.weight" not in shapes
    with torch.no_grad():
        out = model(golden.latents(2, 16, 8, 8), torch.tensor([3.0, 900.0]), *told([2, 24], [2, 5, 20]))
    assert out.shape == (2, 32, 8, 8)
    assert out.isfinite().all()
    with pytest.raises(UsageError, match=r"diffusers' SD3 has no register"):
        mmdit.to_diffusers(model.state_dict(), config)


def test_the_last_time_before_the_data_is_shifted_twice() -> None:
    times = find_process(presets.find("mmdit-d24").diffusion).times(28)  # type: ignore[attr-defined]
    assert len(times) == 29
    assert times[0] == 1
    assert times[-2].item() == pytest.approx(0.00892, abs=1e-5)
    assert times[-1] == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input_size": 9}, "side 9 .* patches of 2"),
        ({"input_size": 400}, "400 .* the 192 that there are positions for"),
        ({"depth": 0}, "depth 0"),
        ({"qk_norm": "l2"}, "qk_norm 'l2' is unknown; known are rms, ln"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        mmdit.Config(**settings)


def test_a_text_of_another_width_is_refused() -> None:
    with pytest.raises(UsageError, match=r"width 21 and a pooled vector of 24 .* told 20 and 24"):
        mmdit.build(TINY)(golden.latents(1, 16, 8, 8), torch.tensor([1.0]), *told([1, 24], [1, 5, 21]))


def test_told_a_class_it_differs_by_class_and_knows_none() -> None:
    model = backbone.create_model("mmdit-digits")
    x, t = torch.randn(1, 1, 8, 8).expand(3, -1, -1, -1), torch.full((3,), 500.0)
    out = model(x, t, torch.tensor([0, 1, 10]))
    assert out.shape == (3, 1, 8, 8)
    assert not torch.equal(out[0], out[1])
    assert not torch.equal(out[1], out[2])
