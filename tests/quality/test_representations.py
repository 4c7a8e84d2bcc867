"""The spaces of FDr, of small networks that transformers saves, each beside its class called by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dimbench.errors import DimbenchError
from dimbench.quality.features import create_extractor
from dimbench.quality.representations import SPACES, _positions
from tests.quality.test_images import pixels

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
MLP = {"intermediate_size": 64}


def theirs(name: str) -> Any:
    import transformers as t

    torch.manual_seed(0)
    match SPACES[name].network:
        case "ConvNextV2Model":
            model = t.ConvNextV2Model(t.ConvNextV2Config(hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 1, 1]))
        case "Dinov2Model":
            model = t.Dinov2Model(t.Dinov2Config(**VIT, image_size=266, patch_size=14, layerscale_value=0.7))
        case "CLIPVisionModel":
            model = t.CLIPVisionModel(t.CLIPVisionConfig(**VIT, **MLP, image_size=266, patch_size=14))
        case "SiglipVisionModel":
            model = t.SiglipVisionModel(t.SiglipVisionConfig(**VIT, **MLP, image_size=224, patch_size=16))
        case _:
            model = t.ViTMAEModel(t.ViTMAEConfig(**VIT, **MLP, image_size=224, patch_size=16, mask_ratio=0.75))
    return model.eval()


def saved(name: str, folder: Path) -> Path:
    theirs(name).save_pretrained(folder)
    return folder


def images(n: int, side: int) -> Tensor:
    return torch.from_numpy(pixels(n, side)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("name", SPACES)
def test_what_is_compared_is_what_the_network_gives_of_normalised_images(name: str, tmp_path: Path) -> None:
    space = SPACES[name]
    given, model = images(2, space.side), theirs(name)
    mean, deviation = (torch.tensor(each).view(-1, 1, 1) for each in space.normal)
    x = (given / 255 - mean) / deviation
    if space.side == 256:  # patches of 14 do not fill it
        x = torch.nn.functional.pad(x, (0, 10, 0, 10))
    if name == "fdr-mae-l":
        model.config.mask_ratio = 0.0
    with torch.no_grad():
        out = model(x)
    if name == "fdr-convnextv2-b":
        expected = out.last_hidden_state.mean((2, 3))
    elif name in ("fdr-clip-l", "fdr-siglip2-so400m"):
        expected = out.pooler_output
    else:
        expected = out.last_hidden_state[:, 0]
    extractor = create_extractor(name, saved(name, tmp_path))
    found = extractor.features(given)["pool"]
    assert torch.allclose(found, expected, atol=1e-5)
    assert found.std() > 1e-3
    assert torch.equal(extractor.features(given)["pool"], found), "nothing is drawn at random"


def test_positions_of_another_grid_keep_the_class_tokens_place() -> None:
    ramp = torch.arange(4.0).repeat_interleave(4)[:, None]
    given = torch.cat([torch.full((1, 1), 9.0), ramp])
    found = _positions(given, torch.Size((1 + 64, 1)))
    assert found[0].item() == 9
    assert found[1:].view(8, 8)[2:6, 0].tolist() == pytest.approx([0.75, 1.25, 1.75, 2.25], abs=0.1)
    assert torch.equal(_positions(given, given.shape), given)


@pytest.mark.parametrize("name", SPACES)
def test_a_folder_of_another_network_is_refused_and_none_is_asked_for(name: str, tmp_path: Path) -> None:
    other = "fdr-mae-l" if name != "fdr-mae-l" else "fdr-convnextv2-b"
    with pytest.raises(DimbenchError, match=f"gives no {name}"):
        create_extractor(name, saved(other, tmp_path))
    with pytest.raises(DimbenchError, match=f"is no folder that could give {name}"):
        create_extractor(name, tmp_path / "nothing")
    with pytest.raises(DimbenchError, match=f"give --extractor {name}:FOLDER"):
        create_extractor(name)
