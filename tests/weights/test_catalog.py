"""What is listed can be told apart, found and used."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from dimbench import paths, presets
from dimbench.diffusion.process import find_process
from dimbench.errors import UsageError
from dimbench.weights import catalog

CHECKPOINTS = [entry for entry in catalog.everything() if entry.checkpoint and entry.checkpoint.fid]


def test_no_two_files_share_a_place() -> None:
    assert max(Counter(entry.path for entry in catalog.everything()).values()) == 1


def test_addresses_are_whole() -> None:
    for entry in catalog.everything():
        assert all(place.startswith("https://") for place in (entry.file.url, entry.file.page) if place), entry.name
        assert not (entry.ships and entry.file.url)


@pytest.mark.parametrize("entry", CHECKPOINTS, ids=lambda entry: entry.name)
def test_published_figures_can_be_drawn_as_they_were(entry: catalog.Entry) -> None:
    assert entry.checkpoint
    assert float(entry.checkpoint.fid) > 0
    said = entry.checkpoint.sampling
    find_process(presets.find(entry.owner).diffusion).check(said["sampler"], said["steps"])
    assert said["cfg"] >= 1
    on_pixels = presets.find(entry.owner).latent_stride == 1
    assert said["autoencoder"] == "" if on_pixels else said["autoencoder"] in presets.shared_files()


def test_models_files_and_wildcards_are_found_once() -> None:
    assert [e.name for e in catalog.match(["DiT-XL/2"])] == ["DiT-XL-2-256x256.pt", "DiT-XL-2-512x512.pt"]
    assert [e.name for e in catalog.match(["dit-xl-2-256x256.pt", "dit-xl2"])][1:] == ["DiT-XL-2-512x512.pt"]
    assert [e.name for e in catalog.match(["SiT-XL-2-256.pt"])] == ["SiT-XL-2-256x256.pt"]
    assert {e.owner for e in catalog.match(["sd-vae-*", "inception"])} == {
        "sd-vae-ft-ema",
        "sd-vae-ft-mse",
        "inception",
    }
    assert len(catalog.match(["*"])) == len(catalog.everything())
    with pytest.raises(UsageError, match="none is known for this model"):
        catalog.match(["dit-s2"])
    with pytest.raises(UsageError, match=r"did you mean .*inception"):
        catalog.match(["inceptoin"])


def test_shared_files_are_found_when_all_are_here() -> None:
    folder = paths.weights_folder()
    config, weights = (catalog.path_of(file) for file in presets.shared_files()["sd-vae-ft-ema"].files)
    config.parent.mkdir(parents=True)
    config.touch()
    assert catalog.shared("sd-vae-ft-ema") is None
    weights.touch()
    assert catalog.shared("sd-vae-ft-ema") == folder / "sd-vae-ft-ema"
    inception = catalog.path_of(presets.shared_files()["inception"].files[0])
    inception.touch()
    assert catalog.shared("inception") == inception
    assert catalog.shared("adm-imagenet-333") is None


def test_the_folder_is_in_the_cache(tmp_path: Path) -> None:
    assert paths.weights_folder() == tmp_path / "cache" / "weights"
