"""JiT against the official implementation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dimbench import presets
from dimbench.diffusion.flow import Flow, flow_errors
from dimbench.diffusion.guidance import guided, within
from dimbench.errors import UsageError
from dimbench.models import jit
from dimbench.weights.checkpoints import load_checkpoint
from tests import golden_data as golden
from tests.models import relatives

NAMES = ("jit-tiny", "jit-tiny-nocontext", "jit-b-16")


def network(name: str) -> Any:
    return relatives.filled(jit, golden.card(f"relatives/{name}.json"))


def flow(case: dict[str, Any]) -> Flow:
    return Flow(prediction="data", grid="steps", clamp=case["t_eps"], noise_scale=case.get("noise_scale", 1.0))


def guided_pair(model: Any, case: dict[str, Any]) -> Callable[[Tensor, Tensor], Tensor]:
    """(x, t) -> the guided image of every row."""
    low, high = case["interval"]
    y = torch.tensor(case["y"])
    both = torch.cat([y, torch.full_like(y, model.config.null_label)])
    pair = guided(model, within(case["cfg_scale"], low, high), None)
    return lambda x, t: pair(torch.cat([x, x]), torch.cat([t, t]), both)[: len(x)]


@pytest.mark.parametrize(("name", "file"), [case for case in relatives.cases(*NAMES) if case.id.endswith("-a.npz")])
def test_outputs_of_the_official_model(name: str, file: str) -> None:
    _, case = relatives.card_and_case(name, file)
    stride = case.get("out_stride", 1)
    with torch.no_grad():
        ours = network(name)(*relatives.halves(case))
    relatives.agree(ours[..., ::stride, ::stride], file)


def test_intermediate_states() -> None:
    _, case = relatives.card_and_case("jit-tiny", "jit-tiny-a.npz")
    model = network("jit-tiny")
    parts = {name: getattr(model, name) for name in ("t_embedder", "y_embedder", "x_embedder", "final_layer")}
    blocks = {"block_0": model.blocks[0], "block_2": model.blocks[2], "last_block": model.blocks[-1]}
    with torch.no_grad(), relatives.watched({**parts, **blocks}) as seen:
        model(*relatives.halves(case))
    assert set(seen) == set(case["intermediates"])
    for name, ours in seen.items():
        relatives.agree(ours, "jit-tiny-a.npz", name)


def test_guidance_acts_inside_its_interval() -> None:
    _, case = relatives.card_and_case("jit-tiny", "jit-tiny-guided.npz")
    x, pair = golden.latents(*case["x_shape"]), guided_pair(network("jit-tiny"), case)
    with torch.no_grad():
        ours = [flow(case).velocity(pair(x, torch.full((len(x),), t)), x, torch.tensor(t)) for t in case["t"]]
    relatives.agree(torch.stack(ours), case["file"])


@pytest.mark.parametrize("method", ["heun", "euler"])
def test_samples_of_the_official_sampler(method: str) -> None:
    _, case = relatives.card_and_case("jit-tiny", f"jit-tiny-{method}.npz")
    x, pair = golden.latents(*case["x_shape"]), guided_pair(network("jit-tiny"), case)
    relatives.agree(flow(case).sample(pair, x, golden.noise, method, case["steps"]), case["file"])


def test_loss_of_the_official_training() -> None:
    _, case = relatives.card_and_case("jit-tiny", "jit-tiny-loss.npz")
    model, y = network("jit-tiny"), torch.tensor(case["y"])
    noise = golden.unit("input.noise", *case["x_shape"]) * 3**0.5
    with torch.no_grad():
        losses, _ = flow_errors(
            lambda x, t: model(x, t, y), golden.latents(*case["x_shape"]), noise, torch.tensor(case["t"]), flow(case)
        )
    relatives.agree(losses.mean().view(1), case["file"])


@pytest.mark.parametrize(("size", "patch"), [(size, patch) for size in "BLH" for patch in (16, 32)])
def test_counts_of_the_official_model(size: str, patch: int) -> None:
    relatives.check_counts(f"jit-{size}{patch}", f"JiT-{size}/{patch}", {16: 256, 32: 512}[patch])


@pytest.mark.parametrize("patch", [16, 32])
def test_counts_of_the_size_that_only_the_paper_has(patch: int) -> None:
    row = f"JiT-G/{patch} (not in the official code; sizes of LTH14/JiT issue 18)"
    relatives.check_counts(f"jit-g{patch}", row, {16: 256, 32: 512}[patch])


def test_a_checkpoint_of_the_authors_is_loaded_without_its_wrapper() -> None:
    model = network("jit-tiny")
    state = model.state_dict()
    averages = {f"model_ema{k}": {f"net.{name}": k * tensor for name, tensor in state.items()} for k in (1, 2)}
    untrained = {f"net.{name}": torch.zeros_like(tensor) for name, tensor in state.items()}
    fresh = load_checkpoint(jit.build(model.config), {"model": untrained, **averages, "epoch": 3})
    assert all(torch.equal(tensor, state[name]) for name, tensor in fresh.state_dict().items())


def test_middle_blocks_drop_out_in_training() -> None:
    config = jit.Config(
        input_size=16, patch_size=8, hidden_size=16, depth=4, num_heads=2, in_context_start=1, proj_dropout=0.5
    )
    assert [block.attn.dropout.p for block in jit.build(config).blocks] == [0, 0.5, 0.5, 0]


def test_the_preset_starts_from_the_papers_noise() -> None:
    assert [presets.find(name).diffusion["noise_scale"] for name in ("jit-b16", "jit-b32")] == [1, 2]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input_size": 250}, "250 .* patches of 16"),
        ({"hidden_size": 72}, "hidden_size 72 .* multiple of 48"),
        ({"in_context_start": 12}, "in_context_start 12 .* give 0 to 11"),
        ({"label_dropout": 0}, "label_dropout 0"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        jit.Config(**settings)
