"""REPA, REPA-E and REG against REPA's and REG's own modules and samplers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dimbench import presets
from dimbench.backbone import find
from dimbench.counting.costs import count
from dimbench.diffusion.guidance import guided, within
from dimbench.diffusion.process import find_process
from dimbench.errors import UsageError
from dimbench.models import dit, reg
from dimbench.sampling.run import Run, Settings
from dimbench.sampling.sample_noise import SampleNoise
from dimbench.weights.checkpoints import load_checkpoint
from tests import golden_data as golden
from tests.models import relatives


def repa() -> Any:
    return relatives.filled(dit, golden.card("relatives/repa-tiny.json"))


def test_outputs_of_repa() -> None:
    _, case = relatives.card_and_case("repa-tiny", "repa-tiny-a.npz")
    with torch.no_grad():
        relatives.agree(repa()(*relatives.halves(case)), case["file"])


@pytest.mark.parametrize("file", ["repa-tiny-sde.npz", "repa-tiny-ode.npz"])
def test_samples_of_repas_samplers(file: str) -> None:
    """Its SDE is SiT's, run backwards in time; its ODE has so many steps where ours has points."""
    _, case = relatives.card_and_case("repa-tiny", file)
    pair = guided(repa(), within(case["cfg_scale"], *case["interval"], ends=True), None)
    both = torch.cat([torch.tensor(case["y"]), torch.full((2,), 10)])

    def call(x: Tensor, t: Tensor) -> Tensor:
        return pair(x.repeat(2, 1, 1, 1), t.repeat(2), both)[:2]

    points = case["num_steps"] + (case["method"] == "euler")
    process = find_process(presets.find("repa-xl2").diffusion)
    ours = process.sample(call, golden.latents(*case["x_shape"]), golden.noise, case["method"], points)
    relatives.agree(ours, file)


def test_training_tells_the_share_of_noise() -> None:
    told: list[Tensor] = []
    data = torch.full((4, 1, 2, 2), 3.0)

    def network(x: Tensor, t: Tensor) -> Tensor:
        told.append(t)
        share = t.view(-1, 1, 1, 1)
        return (x - (1 - share) * data) / share - data  # noise - data

    process = find_process(presets.find("repa-xl2").diffusion)
    losses = process.loss(network, data, torch.Generator().manual_seed(0))
    torch.testing.assert_close(losses, torch.zeros(4), atol=1e-8, rtol=0)
    assert told[0].min() > 0


def test_a_checkpoint_is_loaded_without_what_training_needs() -> None:
    model = repa()
    state = model.state_dict()
    beside = {"projectors.0.0.weight": torch.zeros(2, 2), "bn.running_mean": torch.zeros(4)}
    fresh = load_checkpoint(dit.build(model.config), {"ema": {**state, **beside}, "vae": {}})
    assert all(torch.equal(tensor, state[name]) for name, tensor in fresh.state_dict().items())


def test_outputs_of_reg() -> None:
    card, case = relatives.card_and_case("reg-tiny", "reg-tiny-a.npz")
    model: Any = relatives.filled(reg, card)
    x, t, y = relatives.halves(case)
    vector = golden.unit("input.cls", *case["cls_shape"]) * 3**0.5
    with torch.no_grad():
        ours = model(torch.cat([x.flatten(1), vector], dim=1), t, y)
    relatives.agree(ours[:, :-12].view_as(x), case["file"])
    relatives.agree(ours[:, -12:], case["file"], "cls")
    state = {**model.state_dict(), "projectors.0.0.weight": torch.zeros(2, 2)}
    assert load_checkpoint(reg.build(model.config), state)


def test_a_class_vector_is_denoised_with_the_image_and_then_left() -> None:
    subject = find("reg-b2", 16, {"hidden_size": 16, "depth": 1, "num_heads": 2, "cls_token_dim": 5})
    network = golden.fill(subject.build(), ("pos_embed",))
    process = find_process(subject.diffusion)
    run = Run(subject, network, process, Settings("euler", 3, 2.0))
    seen: list[Tensor] = []
    network.register_forward_pre_hook(lambda _m, given: seen.append(given[0]))
    with torch.no_grad():
        samples = run.sample(SampleNoise(0, [0, 1]))
    assert samples.shape == (2, 4, 2, 2)
    assert [x.shape for x in seen] == [(4, 16 + 5)] * 2
    assert not torch.equal(seen[0][:, 16:], seen[1][:, 16:])


def test_parameters_are_sits_without_the_second_half_of_its_outputs() -> None:
    sit = count("sit-xl2", 256).params["params"]
    for name, half in (("repa-xl2", 16), ("repa-e-xl2-sdvae", 16)):
        assert count(name, 256).params["params"] == sit - half * (1152 + 1)


def test_regs_token_costs_less_than_half_a_percent() -> None:
    plain, more = (count(name, 256) for name in ("repa-xl2", "reg-xl2"))
    added = 2 * 768 * 1152 + 768 + 1152 + 2 * 1152
    assert more.params["params"] == plain.params["params"] + added
    assert 1 < more.macs("macs") / plain.macs("macs") < 1.005


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input_size": 9}, "side 9 .* patches of 2"),
        ({"hidden_size": 100}, "hidden_size 100 .* 16 heads"),
        ({"cls_token_dim": 0}, "cls_token_dim 0"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        reg.Config(**settings)
