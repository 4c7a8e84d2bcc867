"""MeanFlow on SiT against its PyTorch form: outputs, samples, derivatives, losses and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dimbench.diffusion.guidance import guided
from dimbench.diffusion.two_times import adaptive, guided_velocity, mean_flow_error, sample_average, with_change
from dimbench.errors import UsageError
from dimbench.models import meanflow
from tests import golden_data as golden
from tests.models import relatives


def network(name: str = "meanflow-tiny") -> Any:
    return relatives.filled(meanflow, golden.card(f"relatives/{name}.json"))


def case_of(file: str) -> dict[str, Any]:
    return relatives.card_and_case("meanflow-tiny", file)[1]


def times(case: dict[str, Any]) -> tuple[Tensor, Tensor]:
    return torch.tensor(case["t"]), torch.tensor(case["r"])


@pytest.mark.parametrize(
    ("name", "file"), [case for case in relatives.cases("meanflow-tiny", "meanflow-b-4") if case.id.endswith("-a.npz")]
)
def test_outputs_of_the_official_model(name: str, file: str) -> None:
    _, case = relatives.card_and_case(name, file)
    with torch.no_grad():
        ours = network(name)(golden.latents(*case["x_shape"]), torch.stack(times(case), 1), torch.tensor(case["y"]))
    relatives.agree(ours, file)


def test_intermediate_states() -> None:
    case, model = case_of("meanflow-tiny-a.npz"), network()
    modules = {name: getattr(model, name) for name in ("x_embedder", "t_embedder", "r_embedder")}
    with torch.no_grad(), relatives.watched({**modules, "block_0": model.blocks[0]}) as seen:
        model(golden.latents(*case["x_shape"]), torch.stack(times(case), 1), torch.tensor(case["y"]))
    assert set(seen) == set(case["intermediates"])
    for name, ours in seen.items():
        relatives.agree(ours, case["file"], name)


def test_one_time_is_an_interval_without_length() -> None:
    model, x, y, t = network(), golden.latents(2, 4, 8, 8), torch.tensor([3, 7]), torch.tensor([0.3, 0.9])
    with torch.no_grad():
        assert torch.equal(model(x, t, y), model(x, torch.stack([t, t], 1), y))


@pytest.mark.parametrize("file", ["meanflow-tiny-step1.npz", "meanflow-tiny-step2.npz", "meanflow-tiny-cfg.npz"])
def test_samples_of_the_official_sampler(file: str) -> None:
    case, model = case_of(file), network()
    y = torch.tensor(case["y"])
    pair, both = guided(model, case["cfg_scale"], None), torch.cat([y, torch.full_like(y, 1000)])

    def call(x: Tensor, t: Tensor) -> Tensor:
        if case["cfg_scale"] == 1:
            return model(x, t, y)
        return pair(x.repeat(2, 1, 1, 1), t.repeat(2, 1), both)[: len(x)]

    relatives.agree(sample_average(call, golden.latents(*case["x_shape"]), case["num_steps"]), file)


def test_the_change_along_the_path_of_the_official_loss() -> None:
    case, model = case_of("meanflow-tiny-jvp.npz"), network()
    y, velocity = torch.tensor(case["y"]), golden.unit("input.v", *case["x_shape"]) * 3**0.5
    u, change = with_change(lambda x, t: model(x, t, y), golden.latents(*case["x_shape"]), *times(case), velocity)
    relatives.agree(change, case["file"])
    relatives.agree(u.detach(), case["file"], "u")


def official_error(model: Any, case: dict[str, Any]) -> Tensor:
    """u minus its target with guidance inside where the case's times ask for it."""
    settings, y = case["loss"], torch.tensor(case["y"])
    x, noise = golden.latents(*case["x_shape"]), golden.unit("input.noise", *case["x_shape"]) * 3**0.5
    t, r = times(case)
    z = x + t.view(-1, 1, 1, 1) * (noise - x)
    call, null = (lambda x, t: model(x, t, y)), (lambda x, t: model(x, t, torch.full_like(y, 1000)))
    inside = guided_velocity(call, null, z, t, noise - x, settings["cfg_omega"], settings["cfg_kappa"])
    acts = (settings.get("cfg_min_t", 0.0) <= t) & (t <= settings["cfg_max_t"])
    return mean_flow_error(call, z, t, r, torch.where(acts.view(-1, 1, 1, 1), inside, noise - x))


@pytest.mark.parametrize("name", ["loss", "losscfg", "lossadaptive"])
def test_losses_of_the_official_training(name: str) -> None:
    case = case_of(f"meanflow-tiny-{name}.npz")
    error = official_error(network(), case).detach()
    losses = error.square().flatten(1).sum(1)
    if "adaptive_p" in case["loss"]:
        losses = adaptive(losses, case["loss"]["adaptive_p"])
    relatives.agree(losses, case["file"])
    relatives.agree(error.square().mean(), case["file"], "mean_squared")


def test_gradients_of_the_official_training() -> None:
    case, model = case_of("meanflow-tiny-lossgrad.npz"), network()
    official_error(model, case).square().flatten(1).sum(1).mean().backward()
    for array in case["intermediates"]:
        relatives.agree(model.get_parameter(array.removeprefix("grad:")).grad, case["file"], array)


@pytest.mark.parametrize(
    ("size", "resolution"), [("B/4", 256), ("B/2", 256), ("B/2", 512), ("L/2", 512), ("XL/2", 256), ("XL/2", 512)]
)
def test_counts_of_the_official_model(size: str, resolution: int) -> None:
    relatives.check_counts(f"meanflow-{size}", f"MeanFlow SiT-{size}", resolution)


def test_normed_queries_and_keys_have_the_official_names() -> None:
    config = meanflow.Config(input_size=4, hidden_size=16, depth=1, num_heads=2, qk_norm=True)
    norms = [name for name in meanflow.build(config).state_dict() if "norm" in name]
    assert norms == [f"blocks.0.attn.{part}_norm.{leaf}" for part in "qk" for leaf in ("weight", "bias")]


@pytest.mark.parametrize(
    ("settings", "words"), [({"input_size": 9}, "side 9 .* patches of 2"), ({"hidden_size": 100}, "100 .* 16 heads")]
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        meanflow.Config(**settings)
