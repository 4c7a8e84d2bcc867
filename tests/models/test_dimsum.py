"""DiMSUM's blocks one by one, against the official modules' outputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import dimbench
from dimbench.errors import UsageError
from dimbench.layers.adaln import AdaLNZeroBlock
from dimbench.layers.attention import SelfAttention
from dimbench.layers.mamba import Mixer
from dimbench.layers.mlp import GatedMlp
from dimbench.models import dimsum
from tests import golden_data as golden

TOLERANCE = 2e-6  # the specification's, for blocks
BLOCKS = golden.card("dimsum/building_blocks.json")


def filled(name: str, module: torch.nn.Module) -> torch.nn.Module:
    shapes = {key: list(tensor.shape) for key, tensor in module.state_dict().items()}
    fixed = tuple(key for key in shapes if key not in BLOCKS[name]["state_dict"])
    assert all(shapes[key] == shape for key, shape in BLOCKS[name]["state_dict"].items())
    return golden.fill(module, fixed)


def check(module: torch.nn.Module, expected: torch.Tensor, *inputs: Any) -> None:
    with torch.no_grad():
        assert golden.relative_error(module(*inputs), expected) <= TOLERANCE


@pytest.mark.parametrize(("case", "shift"), [("default", 0.0), ("bigstep", 4.0)])
def test_mixer(case: str, shift: float) -> None:
    mixer = filled("cond_mamba", Mixer(16, condition=24))
    with torch.no_grad():
        mixer.dt_proj.bias += shift
    expected = golden.arrays("dimsum/cond_mamba.npz")[f"out_{case}"]
    check(mixer, expected, golden.latents(2, 20, 16))


def test_fusion() -> None:
    fusion = filled("cross_attention_fusion", dimsum.Fusion(16, 8))
    arrays = golden.arrays("dimsum/cross_attention_fusion.npz")
    check(fusion, arrays["out"], arrays["x1"], arrays["x2"])


def test_shared_block() -> None:
    block = filled("shared_block", AdaLNZeroBlock(64, SelfAttention(64, 16), GatedMlp(64, 256)))
    arrays = golden.arrays("dimsum/shared_block.npz")
    check(block, arrays["out"], arrays["x"], arrays["c"])


def test_gated_mlp() -> None:
    arrays = golden.arrays("dimsum/gated_mlp.npz")
    check(filled("gated_mlp", GatedMlp(16, 64)), arrays["out"], arrays["x"])


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_block(index: int) -> None:
    block = dimsum.Block(config(num_classes=1), index).eval()
    golden.fill(block, tuple(BLOCKS["combined_block"]["fixed"]))
    arrays = golden.arrays("dimsum/combined_block.npz")
    x, c = golden.latents(2, 64, 64), golden.unit("input.c", 2, 64)
    with torch.no_grad():
        hidden, residual = block(x, golden.unit("input.residual", 2, 64, 64), c)
        first_hidden, first_residual = block(x, None, c)
    assert golden.relative_error(hidden[:1], arrays[f"hidden_{index}"]) <= TOLERANCE
    assert golden.relative_error(residual[:1], arrays[f"residual_{index}"]) <= TOLERANCE
    if index == 0:
        assert golden.relative_error(first_hidden[:1], arrays["hidden_first"]) <= TOLERANCE
        assert golden.relative_error(first_residual[:1], arrays["residual_first"]) <= TOLERANCE


def config(**settings: Any) -> dimsum.Config:
    return dimsum.Config(**{"input_size": 16, "hidden_size": 64, "depth": 8, "num_classes": 11} | settings)


@pytest.mark.parametrize("scan", ["sweep_4", "zigma_8", "jpeg_2"])
def test_corner_paths_change_the_output_and_are_in_the_state(scan: str) -> None:
    plain, other = (dimbench.create_model("dimsum-digits", scan_type=s, hidden_size=32) for s in ("none", scan))
    tables = [name for name in other.state_dict() if name.endswith("zigzag_paths")]
    assert len(tables) == 2 * plain.config.depth
    count = int(scan.split("_")[1])
    assert other.state_dict()[tables[0]].shape == (count * plain.config.depth, 16)
    with torch.no_grad():
        for model in (plain, other):
            for name, parameter in model.named_parameters():
                parameter.copy_(golden.unit(name, *parameter.shape) * 0.3)
        x, t, y = torch.randn(1, 1, 8, 8), torch.tensor([0.5]), torch.tensor([1])
        assert not torch.allclose(plain(x, t, y), other(x, t, y))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input_size": 12}, "latent of side 12"),
        ({"hidden_size": 72}, "hidden_size 72"),
        ({"scan_type": "spiral_8"}, "spiral_8"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        config(**settings)


def test_deeper_blocks_are_dropped_more_often() -> None:
    model = dimsum.DiMSUM(config(drop_path=0.5))
    assert model.blocks[7].drop_path == pytest.approx(0.5 * 6 / 7)
    assert model.blocks[0].drop_path == 0
