"""Diffusion Policy's transformer against PyTorch's own decoder, whose names its weights have."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dimbench
from dimbench import backbone
from dimbench.errors import UsageError
from dimbench.models import policy
from dimbench.weights.checkpoints import load_checkpoint
from tests import example
from tests import golden_data as golden

TINY = {"input_size": 6, "input_dim": 3, "cond_dim": 5, "n_obs_steps": 2, "n_layer": 2, "n_head": 2, "n_emb": 16}


def small(**settings: Any) -> Any:
    return golden.fill(policy.build(policy.Config(**{**TINY, **settings})).eval())


def by_pytorch(model: Any, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
    """The same network with nn.TransformerDecoder, which is what the official code is made of."""
    config = model.config
    layer = nn.TransformerDecoderLayer(
        config.n_emb, config.n_head, 4 * config.n_emb, activation="gelu", batch_first=True, norm_first=True
    )
    decoder = nn.TransformerDecoder(layer, config.n_layer).eval()
    decoder.load_state_dict(model.decoder.state_dict())
    angles = t[:, None] * torch.exp(-math.log(10000) * torch.arange(8) / 7)
    time = torch.cat([angles.sin(), angles.cos()], dim=-1)
    memory = torch.cat([time[:, None], model.cond_obs_emb(cond)], dim=1) + model.cond_pos_emb
    out = decoder(
        model.input_emb(x) + model.pos_emb,
        model.encoder(memory),
        tgt_mask=None if model.mask is None else ~model.mask,
        memory_mask=None if model.mask is None else ~model.memory_mask,
    )
    return model.head(model.ln_f(out))


@pytest.mark.parametrize("causal", [True, False])
def test_outputs_are_those_of_pytorch(causal: bool) -> None:
    model = small(causal_attn=causal)
    given = golden.latents(3, 6, 3), torch.tensor([0.0, 17.0, 99.0]), golden.unit("input.cond", 3, 2, 5)
    with torch.no_grad():
        torch.testing.assert_close(model(*given), by_pytorch(model, *given), atol=1e-5, rtol=1e-5)


def test_no_action_sees_what_comes_later() -> None:
    """Changed: the action of step 3, and the observation of step 1."""
    model = small()
    x, t, cond = golden.latents(1, 6, 3), torch.tensor([5.0]), golden.unit("input.cond", 1, 2, 5)
    with torch.no_grad():
        before = model(x, t, cond)
        later_action, later_sight = x.clone(), cond.clone()
        later_action[:, 3] += 1
        later_sight[:, 1] += 1
        changed = [
            (model(*given) != before).any(-1)[0].tolist() for given in ((later_action, t, cond), (x, t, later_sight))
        ]
    assert changed == [[False] * 3 + [True] * 3, [False] + [True] * 5]


def test_keys_are_the_official_ones() -> None:
    keys = {name.removeprefix("decoder.layers.0.") for name in small().state_dict() if "layers.1" not in name}
    plain = {f"{name}.{part}" for name in ("input_emb", "cond_obs_emb", "encoder.0", "encoder.2", "ln_f", "head")
             for part in ("weight", "bias")}  # fmt: skip
    attention = {f"{name}.{part}" for name in ("self_attn", "multihead_attn")
                 for part in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")}  # fmt: skip
    rest = {
        f"{name}.{part}" for name in ("linear1", "linear2", "norm1", "norm2", "norm3") for part in ("weight", "bias")
    }
    assert keys == plain | attention | rest | {"pos_emb", "cond_pos_emb"}


def test_masks_of_the_official_files_are_left_out() -> None:
    model = small()
    mask = torch.full((6, 6), -math.inf).triu(1)
    load_checkpoint(model, {**model.state_dict(), "mask": mask, "_dummy_variable": torch.ones(0)})


def test_states_are_rows_of_actions_and_each_sample_has_its_own_observations() -> None:
    one = backbone.find("policy-pusht")
    assert one.state == (16, 2)
    first, again = one.given([3, 4]), one.given([4])
    assert torch.equal(first["cond"][1:], again["cond"])
    assert not torch.equal(first["cond"][0], first["cond"][1])
    model: Any = dimbench.create_model("policy-pusht")
    assert model(**example.inputs(model, 2)).shape == (2, 16, 2)


def test_it_cannot_be_guided() -> None:
    with pytest.raises(UsageError, match="cannot be guided"):
        backbone.find("policy-pusht").given([0], null=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"input_size": 0}, "0 actions"), ({"n_obs_steps": 0}, "n_obs_steps 0 "), ({"n_head": 3}, "3 heads")],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        policy.Config(**settings)
