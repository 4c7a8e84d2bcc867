"""Weights are found wherever training code has put them, averages first, and nothing else is taken for them."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dimbench
from dimbench.errors import DimbenchError
from dimbench.weights.checkpoints import fill

SMALL: dict[str, Any] = {"hidden_size": 32, "depth": 2, "num_heads": 2}


def small(**settings: Any) -> nn.Module:
    return dimbench.create_model("dit-digits", **(SMALL | settings))


WEIGHTS = {name: tensor + 1.0 for name, tensor in small(seed=1).state_dict().items()}
OTHER = {name: tensor * 0.0 for name, tensor in WEIGHTS.items()}
TRAINED = {name: tensor for name, tensor in WEIGHTS.items() if name != "pos_embed"}


def under(prefix: str, state: dict[str, Tensor] = WEIGHTS) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def within(wrapper: str) -> dict[str, Tensor]:
    """As when each block was wrapped: blocks.0.WRAPPER.attn..."""
    return {name.replace("blocks.0.", f"blocks.0.{wrapper}."): tensor for name, tensor in WEIGHTS.items()}


def without_dots(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As latent diffusion's trainer names its averages."""
    return {f"model_ema.{f'diffusion_model.{name}'.replace('.', '')}": tensor for name, tensor in state.items()}


PLAIN = {
    "data parallel": under("module."),
    "compiled": under("_orig_mod."),
    "compiled, then parallel": under("module._orig_mod."),
    "parallel, then compiled": under("_orig_mod.module."),
    "blocks compiled": within("_orig_mod"),
    "blocks checkpointed": within("_checkpoint_wrapped_module"),
    "sharded": under("_fsdp_wrapped_module.", within("_fsdp_wrapped_module")),
    "Lightning": {"state_dict": under("model."), "epoch": 1, "hyper_parameters": {"lr": 1e-4}},
    "Lightning, compiled": {"state_dict": under("net._orig_mod."), "optimizer_states": [{}]},
    "model_state_dict": {"model_state_dict": WEIGHTS, "optimizer_state_dict": {}},
    "net": {"net": WEIGHTS},
    "DeepSpeed": {"module": WEIGHTS, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}, "dp_world_size": 8},
    "numbers beside": {**WEIGHTS, "step": 7, "loss": 0.1, "names": ["a"], "done": None, "args": Namespace(lr=1)},
    "an optimiser's tensors": {"model": WEIGHTS, "opt": {"state": {0: {"exp_avg": torch.ones(3)}}}},
    "another network beside": {"discriminator": {"net.0.weight": torch.ones(2)}, "generator": WEIGHTS},
}
AVERAGED = {
    "ema": {"model": OTHER, "ema": WEIGHTS},
    "ema, parallel": {"model": OTHER, "ema": under("module.")},
    "ema_model": {"ema_model": WEIGHTS, "model": OTHER},
    "params_ema": {"params": OTHER, "params_ema": WEIGHTS},
    "ema_state_dict": {"state_dict": OTHER, "ema_state_dict": WEIGHTS},
    "nested": {"model": OTHER, "ema": {"module": WEIGHTS, "decay": 0.9999}},
    "by rate": {"model": OTHER, "ema_0.9999": WEIGHTS},
    "Lightning": {"state_dict": {**under("model.", OTHER), **under("ema.")}},
    "Lightning, net_ema": {"state_dict": {**under("net.", OTHER), **under("net_ema.")}},
    "callback": {"state_dict": under("model.", OTHER), "callbacks": {"EMACallback": {"weights": WEIGHTS}}},
    "without dots": {"state_dict": {**under("model.diffusion_model.", OTHER), **without_dots(WEIGHTS)}},
    "a list of all": {"model": OTHER, "ema": {"shadow_params": list(WEIGHTS.values()), "decay": 0.99}},
}


def filled(content: Any) -> tuple[dict[str, Tensor], str]:
    model = small()
    notes = " ".join(fill(model, content))
    return model.state_dict(), notes


@pytest.mark.parametrize("layout", PLAIN)
def test_weights_are_found_wherever_they_lie(layout: str) -> None:
    state, notes = filled(PLAIN[layout])
    assert all(torch.equal(state[name], WEIGHTS[name]) for name in WEIGHTS)
    assert notes == ""


@pytest.mark.parametrize("layout", AVERAGED)
def test_averages_come_first_and_it_is_said(layout: str) -> None:
    state, notes = filled(AVERAGED[layout])
    assert all(torch.equal(state[name], WEIGHTS[name]) for name in WEIGHTS)
    assert "averaged weights under" in notes
    assert ", not those under" in notes


@pytest.mark.parametrize("kept", [{"ema": TRAINED}, {"ema": {"shadow_params": list(TRAINED.values())}}])
def test_averages_of_trained_weights_alone_are_completed(kept: Any) -> None:
    table = OTHER | {"pos_embed": WEIGHTS["pos_embed"]}
    state, _ = filled({"model": table, **kept})
    assert all(torch.equal(state[name], WEIGHTS[name]) for name in WEIGHTS)


def test_averages_that_lack_trained_weights_are_not_completed() -> None:
    cut = {name: tensor for name, tensor in WEIGHTS.items() if name != "blocks.0.attn.qkv.weight"}
    state, notes = filled({"model": OTHER, "ema": cut})
    assert all(torch.equal(state[name], OTHER[name]) for name in OTHER)
    assert "averages under ema were not taken, since they do not fit: 1 missing (blocks.0.attn.qkv.weight)" in notes


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"projectors.0.0.weight": torch.ones(4, 4), "projectors.0.0.bias": torch.ones(4)}, "2 tensors of training"),
        ({"n_averaged": torch.tensor(5)}, "n_averaged"),
        ({"num_updates": torch.tensor(5), "decay": torch.tensor(0.99)}, "decay"),
        ({"loss_fn.lpips.weight": torch.ones(2)}, "loss_fn.lpips.weight"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_what_belongs_to_training_alone_is_left_out_and_named(extra: dict[str, Tensor], said: str, prefix: str) -> None:
    state, notes = filled({**under(prefix), **under(prefix, extra)})
    assert all(torch.equal(state[name], WEIGHTS[name]) for name in WEIGHTS)
    assert said in notes


def test_more_of_the_network_itself_is_never_left_out() -> None:
    deeper = small(depth=3).state_dict()
    with pytest.raises(DimbenchError, match=r"10 unexpected \(blocks\.2\."):
        fill(small(), deeper)
    with pytest.raises(DimbenchError, match=r"1 unexpected \(gate\.weight"):
        fill(small(), {**WEIGHTS, "gate.weight": torch.ones(1)})
    with pytest.raises(DimbenchError, match=r"1 unexpected \(temperature\)"):
        fill(small(), {**WEIGHTS, "temperature": torch.tensor(0.5)})


def test_a_network_with_names_like_wrappers_is_loaded_as_it_is() -> None:
    inner = nn.Module()
    inner.module, inner.ema, inner.projector = nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(2, 2)
    expected = {name: torch.rand_like(tensor) for name, tensor in inner.state_dict().items()}
    for prefix in ("", "module.", "model.", "_orig_mod."):
        fill(inner, under(prefix, expected))
        assert all(torch.equal(tensor, expected[name]) for name, tensor in inner.state_dict().items()), prefix


def odd(kind: str) -> Tensor:
    bias = WEIGHTS["x_embedder.proj.bias"]
    match kind:
        case "sparse":
            return bias.to_sparse()
        case "meta":
            return bias.to("meta")
        case "quantised":
            return torch.quantize_per_tensor(bias, 0.1, 0, torch.qint8)
        case "float4_e2m1fn_x2":
            return bias.to(torch.uint8).view(torch.float4_e2m1fn_x2)
        case _:
            return bias.to(getattr(torch, kind))


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(
    "kind", ["int8", "uint8", "int64", "bool", "complex64", "float4_e2m1fn_x2", "sparse", "meta", "quantised"]
)
def test_tensors_that_hold_no_plain_floats_are_refused_by_name(kind: str) -> None:
    with pytest.raises(DimbenchError, match=rf"x_embedder\.proj\.bias is .*{kind}"):
        fill(small(), {"ema": {**WEIGHTS, "x_embedder.proj.bias": odd(kind)}, "model": OTHER})


class Rotated(Tensor):
    """Stands for the classes with which libraries extend tensors."""


def test_classes_of_tensors_are_refused_by_name() -> None:
    with pytest.raises(DimbenchError, match=r"x_embedder\.proj\.bias is a Rotated"):
        fill(small(), {**WEIGHTS, "x_embedder.proj.bias": WEIGHTS["x_embedder.proj.bias"].as_subclass(Rotated)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_taken(dtype: torch.dtype) -> None:
    state, _ = filled({name: tensor.to(dtype) for name, tensor in WEIGHTS.items()})
    assert all(torch.equal(state[name], WEIGHTS[name].to(dtype).float()) for name in WEIGHTS)


def test_counts_of_a_batch_norm_stay_whole_numbers() -> None:
    norm = nn.BatchNorm2d(3)
    fill(norm, {"model": {**norm.state_dict(), "num_batches_tracked": torch.tensor(7)}})
    assert norm.num_batches_tracked == 7
    with pytest.raises(DimbenchError, match="num_batches_tracked is of float32 where whole numbers are expected"):
        fill(norm, {**norm.state_dict(), "num_batches_tracked": torch.tensor(0.5)})


@pytest.mark.parametrize(
    "content", [{}, {"loss": 1.0}, {"model": {}}, {"model": {1: torch.ones(2)}}, {"x": [torch.ones(1)]}]
)
def test_what_holds_no_weights_is_said(content: Any) -> None:
    with pytest.raises(DimbenchError, match="the given state dict holds no state dict"):
        fill(small(), content)


def test_dictionaries_inside_themselves_end() -> None:
    content: dict[str, Any] = {"step": np.float64(1.0)}
    content["self"] = content
    with pytest.raises(DimbenchError):
        fill(small(), content)
    assert filled({**content, "ema": WEIGHTS})[0].keys() == WEIGHTS.keys()


def test_names_are_shown_without_control_characters() -> None:
    with pytest.raises(DimbenchError) as caught:
        fill(small(), {**WEIGHTS, "evil\x1b[31m\nname": torch.ones(2)})
    assert str(caught.value).isprintable()
