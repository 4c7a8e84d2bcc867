"""DiT-3D: voxels as states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import dimbench
from dimbench.errors import UsageError
from dimbench.models import dit3d
from tests import example
from tests import golden_data as golden

TINY = {"input_size": 8, "patch_size": 4, "hidden_size": 24, "depth": 1, "num_heads": 2}


def test_cubes_go_back_where_they_came_from() -> None:
    """Through a patch embedding that copies every voxel, with the channel fastest, and back."""
    x = golden.latents(2, 3, 8, 8, 8)
    embed = dit3d.VoxelEmbed(3, 3 * 4**3, 4)
    with torch.no_grad():
        identity = torch.eye(3 * 4**3).view(4, 4, 4, 3, 3 * 4**3).permute(4, 3, 0, 1, 2)
        embed.proj.weight.copy_(identity.reshape(embed.proj.weight.shape))
        embed.proj.bias.zero_()
        assert torch.equal(dit3d.voxels(embed(x), 4, 2), x)


def test_positions_tell_every_place_along_each_axis() -> None:
    table = dit3d.sincos_3d(12, 3)[0].view(3, 3, 3, 3, 4)  # three coordinates of four features
    for axis in range(3):
        along = table.movedim(axis, 0)[..., axis, :]
        assert torch.equal(along, along[:, :1, :1].expand_as(along)), "the same for all places across"
        angles = np.arange(3)[:, None] * np.array([1.0, 0.01])
        expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        np.testing.assert_allclose(along[:, 0, 0].numpy(), expected, atol=1e-6)


def test_parameters_are_those_of_the_named_parts() -> None:
    """S/4: 12 blocks of 18 D^2 + 15 D with adaLN, and the embeddings and the last layer."""
    with torch.device("meta"):
        model = dit3d.build(dit3d.Config(hidden_size=384, depth=12, num_heads=6))
    width, patch = 384, 3 * 4**3
    blocks = 12 * (18 * width**2 + 15 * width)
    ends = (patch + 1) * width + 256 * width + width**2 + 2 * width + 2 * width
    last = 2 * width**2 + 2 * width + (width + 1) * patch
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == blocks + ends + last


def test_states_are_voxels() -> None:
    model: Any = dimbench.create_model("dit3d-s4", resolution=8, **{k: TINY[k] for k in ("hidden_size", "num_heads")})
    assert model.config.state == (3, 8, 8, 8)
    assert model(**example.inputs(model, 2)).shape == (2, 3, 8, 8, 8)


def test_every_parameter_learns() -> None:
    model: Any = golden.fill(dit3d.build(dit3d.Config(**TINY)).eval(), ("pos_embed",))
    given = example.inputs(model, 2)
    model(**{**given, "y": torch.tensor([0, 1])}).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and not p.grad.abs().sum()] == []


@pytest.mark.parametrize(
    ("settings", "said"), [({"input_size": 6}, "6 voxels"), ({"hidden_size": 32}, "hidden_size 32")]
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        dit3d.Config(**settings)
