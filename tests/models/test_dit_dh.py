"""RAE's DiT-DH against the official implementation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dimbench import presets
from dimbench.diffusion.flow import Flow, flow_errors
from dimbench.diffusion.guidance import autoguided, guided, within
from dimbench.errors import UsageError
from dimbench.models import dit_dh
from tests import golden_data as golden
from tests.models import relatives

FIXED = ("enc_feat_rope.freqs_cos", "enc_feat_rope.freqs_sin", "dec_feat_rope.freqs_cos", "dec_feat_rope.freqs_sin")


def network(name: str = "ditdh-tiny") -> Any:
    return relatives.filled(dit_dh, golden.card(f"relatives/{name}.json"))


def guide(case: dict[str, Any]) -> Any:
    return golden.fill(dit_dh.build(dit_dh.Config(**case["guide_config"])), (*FIXED, "pos_embed")).eval()


def flow(case: dict[str, Any]) -> Flow:
    shift = math.sqrt(case["time_dist_shift_dim"] / case["time_dist_shift_base"])
    return Flow(noise_at=1, stop=0.999, shift=shift)


@pytest.mark.parametrize(
    ("name", "file"), [case for case in relatives.cases("ditdh-tiny", "ditdh-s") if case.id.endswith("-a.npz")]
)
def test_outputs_of_the_official_model(name: str, file: str) -> None:
    _, case = relatives.card_and_case(name, file)
    stride = case.get("out_stride", 1)
    with torch.no_grad():
        relatives.agree(network(name)(*relatives.halves(case))[..., ::stride, ::stride], file)


def test_intermediate_states() -> None:
    _, case = relatives.card_and_case("ditdh-tiny", "ditdh-tiny-a.npz")
    model = network()
    parts = {name: getattr(model, name) for name in ("t_embedder", "y_embedder", "s_projector")}
    modules = {**parts, "last_encoder_block": model.blocks[2], "last_block": model.blocks[-1]}
    with torch.no_grad(), relatives.watched(modules) as seen:
        model(*relatives.halves(case))
    assert set(seen) == set(case["intermediates"])
    for name, ours in seen.items():
        relatives.agree(ours, case["file"], name)


def test_each_image_is_guided_by_its_own_time() -> None:
    _, case = relatives.card_and_case("ditdh-tiny", "ditdh-tiny-cfg.npz")
    scale = within(case["cfg_scale"], *case["cfg_interval"], ends=True)
    with torch.no_grad():
        relatives.agree(guided(network(), scale, None)(*relatives.halves(case)), case["file"])


def test_a_worse_network_guides() -> None:
    _, case = relatives.card_and_case("ditdh-tiny", "ditdh-tiny-autoguidance.npz")
    scale = within(case["cfg_scale"], *case["cfg_interval"], ends=True)
    with torch.no_grad():
        relatives.agree(autoguided(network(), guide(case), scale)(*relatives.halves(case)), case["file"])


@pytest.mark.parametrize("file", ["ditdh-tiny-euler.npz", "ditdh-tiny-euler-ag.npz"])
def test_samples_of_the_official_sampler(file: str) -> None:
    _, case = relatives.card_and_case("ditdh-tiny", file)
    y, call = torch.tensor(case["y"]), network()
    if case["guidance"] == "autoguidance":
        call = autoguided(call, guide(case), within(case["cfg_scale"], *case["cfg_interval"], ends=True))
    ours = flow(case).sample(
        lambda x, t: call(x, t, y), golden.latents(*case["x_shape"]), golden.noise, "euler", case["num_steps"]
    )
    relatives.agree(ours, file)


def test_loss_of_the_official_training() -> None:
    _, case = relatives.card_and_case("ditdh-tiny", "ditdh-tiny-loss.npz")
    model, y = network(), torch.tensor(case["y"])
    noise = golden.unit("input.noise", *case["x_shape"]) * 3**0.5
    with torch.no_grad():
        losses, _ = flow_errors(
            lambda x, t: model(x, t, y),
            golden.latents(*case["x_shape"]),
            noise,
            torch.tensor(case["t"]),
            Flow(noise_at=1),
        )
    relatives.agree(losses.mean().view(1), case["file"])


@pytest.mark.parametrize("resolution", [256, 512])
@pytest.mark.parametrize("size", ["S", "XL"])
def test_counts_of_the_official_model(size: str, resolution: int) -> None:
    name = f"dit-dh-{size.lower()}" + ("" if resolution == 256 else "-512")
    relatives.check_counts(name, f"DiT-DH-{size}", resolution)


def test_times_are_shifted_by_the_size_of_the_latent() -> None:
    for name, side in (("dit-dh-xl", 16), ("dit-dh-s-512", 32)):
        assert presets.find(name).diffusion["shift"] == pytest.approx(math.sqrt(768 * side**2 / 4096))


def test_one_width_needs_no_projector() -> None:
    config = dit_dh.Config(input_size=2, in_channels=3, hidden_size=(16, 16), depth=(1, 1), num_heads=(2, 2))
    model = dit_dh.build(config)
    assert not any(name.startswith("s_projector") for name in model.state_dict())
    with torch.no_grad():
        assert model(golden.latents(2, 3, 2, 2), torch.tensor([0.1, 0.9]), torch.tensor([0, 1])).shape == (2, 3, 2, 2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"patch_size": 2}, "patch_size 2 .* give 1"),
        ({"input_size": 0}, "side 0"),
        ({"depth": (28,)}, r"depth \[28\] .* encoder and head"),
        ({"hidden_size": (1152, 2020)}, "hidden_size 2020 .* multiple of 64"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        dit_dh.Config(**settings)
