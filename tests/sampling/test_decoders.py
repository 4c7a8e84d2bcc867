"""Networks on other latents than Stable Diffusion's, drawn through the autoencoders of these."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dimbench import backbone
from dimbench.backbone import Backbone
from dimbench.errors import DimbenchError
from dimbench.sampling import autoencoder, decoding, drawing
from dimbench.sampling.request import Request
from tests.sampling.autoencoders import old_layout, small_rae, small_va, small_vq

MEAN = torch.linspace(-1, 1, 32).view(1, 32, 1, 1)
STD = torch.linspace(0.5, 2, 32).view(1, 32, 1, 1)

# The model and its settings, the autoencoder of its latents, and what that makes of them.
CASES: dict[str, tuple[str, dict[str, Any], Callable[[], Any], Callable[[Any, Tensor], Tensor]]] = {
    "VA-VAE": (
        "lightningdit-xl1",
        {"hidden_size": 32, "depth": 1, "num_heads": 2},
        small_va,
        lambda network, x: network.decode(x * STD + MEAN).sample,
    ),
    "VQ-f4": (
        "ldm-4",
        {"model_channels": 32, "channel_mult": (1,), "num_res_blocks": 1, "attention_resolutions": (1,)},
        small_vq,
        lambda network, x: network.decode(x).sample,
    ),
    "RAE": (
        "dit-dh-s",
        {"in_channels": 64, "hidden_size": (32, 32), "depth": (1, 1), "num_heads": (2, 2)},
        small_rae,
        lambda network, x: 2 * network.decode(x).sample - 1,
    ),
}


def saved(folder: Path, network: Any) -> Path:
    network.save_pretrained(folder)
    if network.config.get("latent_channels") == 32:
        torch.save({"mean": MEAN, "std": STD}, folder / "latents_stats.pt")
    return folder


def ready(found: Backbone, **settings: Any) -> drawing.Drawing:
    return drawing.Drawing(Request(backbone=found, num_images=2, steps=2, random_weights=True, **settings))


@pytest.mark.parametrize("case", CASES)
def test_pictures_are_what_the_autoencoder_makes_of_the_latents(case: str, tmp_path: Path) -> None:
    name, settings, make, decoded = CASES[case]
    found, network = backbone.find(name, 32, settings), make()
    drawn = ready(found, autoencoder=str(saved(tmp_path / "ae", network)))
    images = torch.cat(list(drawn.stream()))
    assert images.shape == (2, 3, 32, 32)
    with torch.no_grad():
        expected = decoded(network, torch.cat(list(ready(found, latents=True).stream())))
    # a value that rounding carries over a whole number is one byte further
    assert ((127.5 * expected + 128).clamp(0, 255).byte().int() - images.int()).abs().max() <= 1
    assert drawn.decoding_cost["decode_macs"] == decoding.macs(found.state, drawn.autoencoder.space) > 0
    assert drawn.decoding_cost["decode_seconds"] > 0


@pytest.mark.parametrize("case", CASES)
def test_what_is_encoded_is_decoded_by_the_same_normalisation(case: str, tmp_path: Path) -> None:
    make = CASES[case][2]
    found = decoding.load(str(saved(tmp_path / "ae", make())))
    x = 2 * torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 1
    latents = found.encode(x, torch.zeros(2, found.channels, 32 // found.stride, 32 // found.stride))
    network = found.network
    with torch.no_grad():
        through = network(x / 2 + 0.5).sample * 2 - 1 if case == "RAE" else network(x).sample
    torch.testing.assert_close(found.decode(latents), through, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("make", [small_va, small_vq])
def test_the_authors_files_tell_their_own_layout(make: Callable[[], Any]) -> None:
    network = make()
    found = autoencoder.from_state({f"first_stage_model.{k}": v for k, v in old_layout(network.state_dict()).items()})
    assert type(found.network) is type(network)
    x = torch.randn(1, found.channels, 2, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.decode(found.normalisation.bare(x)).sample
    torch.testing.assert_close(found.decode(x), expected, atol=1e-5, rtol=1e-5)


def test_latents_without_what_they_are_normalised_by_are_refused(tmp_path: Path) -> None:
    found = backbone.find("lightningdit-xl1", 32, CASES["VA-VAE"][1])
    small_va().save_pretrained(tmp_path)
    said = (
        r"normalised times 0.18215, and the model was trained on 32 of 16, normalised by channel; give vavae\S+ with "
    )
    with pytest.raises(DimbenchError, match=said):
        ready(found, autoencoder=str(tmp_path))
    torch.save({"mean": 0.0}, tmp_path / "latents_stats.pt")
    with pytest.raises(DimbenchError, match=r"latents_stats.pt beside it holds no mean and std"):
        ready(found, autoencoder=str(tmp_path))


def test_the_normalisation_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    first = decoding.load(str(saved(tmp_path, small_va()))).fingerprint
    torch.save({"mean": MEAN, "std": 2 * STD}, tmp_path / "latents_stats.pt")
    assert decoding.load(str(tmp_path)).fingerprint != first


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("dit-xl2", "sd-vae-ft-ema, https://"),
        ("lightningdit-xl1", "vavae-imagenet256-f16d32-dinov2, https://"),
        ("dit-dh-xl", "rae-dinov2-wreg-base, https://"),
        ("repa-e-xl2-sdvae", "e2e-sdvae, of which no address is known here"),
    ],
)
def test_each_model_asks_for_the_autoencoder_of_its_latents(name: str, wanted: str) -> None:
    missing = Request(backbone=backbone.find(name), num_images=1, steps=2).missing()
    assert any(wanted in each for each in missing)
