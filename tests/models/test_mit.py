"""Improved and pixel MeanFlow against their PyTorch form: outputs, samples, derivatives, losses and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import dimbench
from dimbench.backbone import find
from dimbench.counting.costs import count
from dimbench.diffusion.two_times import improved_errors, improved_loss, sample_average, with_change
from dimbench.errors import UsageError
from dimbench.models import mit
from dimbench.weights.checkpoints import load_checkpoint
from tests import golden_data as golden
from tests.models import relatives

TOLD = ("omega", "t_min", "t_max")
TINY: dict[str, Any] = {"input_size": 4, "hidden_size": 16, "depth": 2, "num_heads": 2, "aux_head_depth": 1}


def network(name: str, **settings: Any) -> Any:
    card = golden.card(f"relatives/{name}.json")
    official = card["config"]
    return relatives.filled(
        mit,
        card,
        input_size=official["img_size"] // official.get("tokenizer_patch_size", 1),
        in_channels=official.get("in_channels", 3),
        predicts_x=official["denoiser"] == "pMFDenoiser",
        disable_v_head=official.get("disable_v_head", False),
        **settings,
    )


def told(case: dict[str, Any]) -> list[Tensor]:
    return [torch.tensor(case[name]) for name in TOLD]


def times(case: dict[str, Any]) -> Tensor:
    t = torch.tensor(case["t"])
    return torch.stack([t, torch.tensor(case["r"]) if "r" in case else t - torch.tensor(case["h"])], dim=1)


@pytest.mark.parametrize(
    ("name", "file"), [case for case in relatives.cases("imf-tiny", "imf-b", "pmf-tiny") if case.id.endswith("-a.npz")]
)
def test_outputs_of_the_official_model(name: str, file: str) -> None:
    _, case = relatives.card_and_case(name, file)
    x, _, y = relatives.halves(case)
    with torch.no_grad():
        both = network(name)(x, times(case), y, *told(case))
    relatives.agree(both[:, : x.shape[1]], file)
    if both.shape[1] > x.shape[1]:
        relatives.agree(both[:, x.shape[1] :], file, "v")


def test_intermediate_states() -> None:
    _, case = relatives.card_and_case("imf-tiny", "imf-tiny-a.npz")
    model = network("imf-tiny")
    modules = {name: getattr(model.net, name) for name in ("x_embedder", "h_embedder", "y_embedder", "omega_embedder")}
    x, _, y = relatives.halves(case)
    with torch.no_grad(), relatives.watched({**modules, "block_0": model.net.shared_blocks[0]}) as seen:
        model(x, times(case), y, *told(case))
    assert {*seen, "v"} == set(case["intermediates"])
    for name, ours in seen.items():
        relatives.agree(ours, case["file"], name)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("name", ["imf-tiny", "pmf-tiny"])
def test_samples_of_the_official_sampler(name: str, steps: int) -> None:
    _, case = relatives.card_and_case(name, f"{name}-step{steps}.npz")
    model, y = network(name, omega=case["cfg"], t_min=case["t_min"], t_max=case["t_max"]), torch.tensor(case["y"])
    ours = sample_average(lambda x, t: model(x, t, y), golden.latents(*case["x_shape"]), case["num_steps"])
    relatives.agree(ours, case["file"])


def test_the_change_along_the_path_of_the_official_loss() -> None:
    _, case = relatives.card_and_case("imf-tiny", "imf-tiny-jvp.npz")
    model, y = network("imf-tiny"), torch.tensor(case["y"])
    velocity = golden.unit("input.v", *case["x_shape"]) * 3**0.5
    both, change = with_change(
        lambda x, t: model(x, t, y, *told(case)),
        golden.latents(*case["x_shape"]),
        *times(case).unbind(1),
        velocity,
    )
    relatives.agree(change[:, :4], case["file"])
    relatives.agree(both[:, :4].detach(), case["file"], "u")
    relatives.agree(both[:, 4:].detach(), case["file"], "v")


def official_errors(model: Any, case: dict[str, Any]) -> tuple[Tensor, Tensor]:
    y = torch.tensor(case["y"])
    x, noise = golden.latents(*case["x_shape"]), golden.unit("input.noise", *case["x_shape"]) * 3**0.5
    t, r = times(case).unbind(1)
    return improved_errors(
        lambda z, times, *guidance: model(z, times, y, *guidance),
        lambda z, times, *guidance: model(z, times, torch.full_like(y, 1000), *guidance),
        x + t.view(-1, 1, 1, 1) * (noise - x),
        t,
        r,
        noise - x,
        *told(case),
    )


@pytest.mark.parametrize("name", ["loss", "lossgrad"])
def test_losses_and_gradients_of_the_official_training(name: str) -> None:
    _, case = relatives.card_and_case("imf-tiny", f"imf-tiny-{name}.npz")
    model = network("imf-tiny")
    errors = official_errors(model, case)
    loss = improved_loss(errors).mean()
    relatives.agree(torch.stack(errors).detach(), case["file"])
    relatives.agree(loss.detach(), case["file"], "loss")
    loss.backward()
    for array in (array for array in case["intermediates"] if array.startswith("grad:")):
        relatives.agree(model.get_parameter(array.removeprefix("grad:")).grad, case["file"], array)


@pytest.mark.parametrize("size", ["B", "M", "L", "XL"])
def test_counts_of_the_official_model(size: str) -> None:
    relatives.check_counts(f"imf-{size}2", f"iMF-{size}/2", 256)


@pytest.mark.parametrize(("size", "patch"), [(size, patch) for size in "BLH" for patch in (16, 32)])
def test_counts_on_pixels(size: str, patch: int) -> None:
    relatives.check_counts(f"pmf-{size}{patch}", f"pMF-{size}/{patch}", {16: 256, 32: 512}[patch])


def test_the_second_head_costs_what_the_table_says() -> None:
    cost = count(find("imf-b2", settings={"disable_v_head": False}))
    assert cost.params["params"] == 145_596_960
    assert cost.macs("macs") / 1e9 == pytest.approx(41.4227, abs=6e-5)  # four decimals are recorded


def test_without_guidance_tokens_its_groups_are_gone() -> None:
    whole = mit.build(mit.Config(**TINY, learned_pe=True)).state_dict()
    bare = mit.build(mit.Config(**TINY, learned_pe=True, guidance_tokens=0)).state_dict()
    gone = {name for name in whole if "omega" in name or "t_min" in name or "t_max" in name or "cfg_t" in name}
    assert set(bare) == set(whole) - gone
    assert len(gone) == 3 + 3 * 4
    assert bare["net.pos_embed"].shape[1] == whole["net.pos_embed"].shape[1] - 8
    assert golden.fill(mit.build(mit.Config(**TINY, guidance_tokens=0)))(
        golden.latents(1, 4, 4, 4), torch.tensor([0.5]), torch.tensor([1])
    ).shape == (1, 4, 4, 4)


def test_a_checkpoint_of_the_authors_loads_with_its_marks_and_without_its_second_head() -> None:
    trained: Any = golden.fill(mit.build(mit.Config(**TINY, disable_v_head=False)))
    state = {}
    for name, tensor in trained.state_dict().items():
        marked = name.replace(".linear.", "._flax_linear.").replace(".embedding.", "._flax_embedding.")
        state[marked] = tensor[None] if name.endswith("_tokens") else tensor
    drawing: Any = load_checkpoint(mit.build(mit.Config(**TINY)), state).eval()
    x, t, y = golden.latents(2, 4, 4, 4), torch.tensor([0.5, 1.0]), torch.tensor([1, 2])
    with torch.no_grad():
        assert torch.equal(drawing(x, t, y), trained.eval()(x, t, y)[:, :4])


def test_a_fresh_block_is_the_identity() -> None:
    model: Any = dimbench.create_model("imf-b2", **TINY)
    x = golden.latents(1, 24, 16)
    with torch.no_grad():
        assert torch.equal(model.net.shared_blocks[0](x, model.net._rotation(x.device)), x)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input_size": 9}, "side 9 .* patches of 2"),
        ({"hidden_size": 100}, "hidden_size 100 .* multiple of 48"),
        ({"aux_head_depth": 12}, "12 of 12 .* give 1 to 11"),
        ({"omega": 0.5}, "guidance 0.5 .* at least 1"),
        ({"t_min": 0.6, "t_max": 0.4}, "0.6 to 0.4 .* in their order"),
        ({"label_dropout": 0}, "label_dropout 0"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        mit.Config(**settings)
