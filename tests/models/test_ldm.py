"""LDM's U-Net against the official implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dimbench.errors import UsageError
from dimbench.models import ldm
from dimbench.weights.checkpoints import load_checkpoint
from tests import golden_data as golden
from tests.models import relatives

TIGHT = 2.5e-6
"""Wider, and the transformers' group norm with another epsilon would pass."""

TINY = {
    "input_size": 8,
    "model_channels": 32,
    "channel_mult": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (2,),
}
CLASSES = 1001 * 512
# Of one key the weight is 1, which the official einsum takes as an elementwise product: one MAC per query and feature
# less than ours, in five stages each of 1024, 256 and 64 places, and the middle.
ONE_KEY = 5 * (1024 * 384 + 256 * 576 + 64 * 960) + 64 * 960


def filled(card: dict[str, Any]) -> Any:
    return relatives.filled(ldm, {**card, "config": {**card["config"], "input_size": card["config"]["image_size"]}})


@pytest.mark.parametrize(("name", "file"), relatives.cases("ldm-tiny", "ldm-tiny-headwidth", "ldm-4-cin256"))
def test_outputs_of_the_official_model(name: str, file: str) -> None:
    card, case = relatives.card_and_case(name, file)
    context = golden.unit("input.context", *case["context_shape"]) * 3**0.5
    with torch.no_grad():
        ours = filled(card)(golden.latents(*case["x_shape"]), torch.tensor(case["t"]), context)
    relatives.agree(ours, file, tolerance=TIGHT)


def test_intermediate_states() -> None:
    card, case = relatives.card_and_case("ldm-tiny", "ldm-tiny-a.npz")
    model = filled(card)
    modules = {
        "time_embed": model.time_embed,
        "input_2_down": model.input_blocks[2],
        "input_3_att": model.input_blocks[3],
        "middle": model.middle_block,
    }
    assert set(modules) == set(case["intermediates"])
    context = golden.unit("input.context", *case["context_shape"]) * 3**0.5
    with torch.no_grad(), relatives.watched(modules) as seen:
        model(golden.latents(*case["x_shape"]), torch.tensor(case["t"]), context)
    for name, ours in seen.items():
        relatives.agree(ours, "ldm-tiny-a.npz", name, TIGHT)


def test_counts_of_the_official_model() -> None:
    row = "LDM-4 (cin256-v2, KL/VQ-f4 64x64x3)"
    relatives.check_counts("ldm-4", row, 256, unseen=ONE_KEY, further=CLASSES)


def small(**settings: Any) -> Any:
    return golden.fill(ldm.build(ldm.Config(**{**TINY, **settings})).eval())


def test_a_class_is_a_context_of_one_token() -> None:
    with_classes, without = small(num_classes=10), small()
    x, t, y = golden.latents(2, 3, 8, 8), torch.tensor([3.0, 700.0]), torch.tensor([7, 10])
    context = with_classes.cond_stage_model.embedding.weight[y][:, None]
    with torch.no_grad():
        assert torch.equal(with_classes(x, t, y), without(x, t, context))
        assert not torch.equal(with_classes(x, t, y), without(x, t, context.flip(0)))


def test_one_token_is_added_whatever_the_image_is() -> None:
    """Queries and keys of attention to a single token change nothing."""
    model = small()
    x, t, context = golden.latents(2, 3, 8, 8), torch.tensor([3.0, 700.0]), golden.latents(2, 1, 512)
    with torch.no_grad():
        before = model(x, t, context)
        for name, parameter in model.named_parameters():
            if name.endswith(("attn2.to_q.weight", "attn2.to_k.weight")):
                parameter.fill_(7.0)
        assert torch.equal(model(x, t, context), before)


def test_without_a_context_the_image_is_attended_to_again() -> None:
    model = small(context_dim=64)
    x, t = golden.latents(2, 3, 8, 8), torch.tensor([3.0, 700.0])
    with torch.no_grad():
        alone = model(x, t)
        assert alone.isfinite().all()
        assert not torch.allclose(alone, model(x, t, golden.latents(2, 16, 64)))


def test_training_drops_classes() -> None:
    model = small(num_classes=10, label_dropout=0.5).train()
    seen = []
    model.cond_stage_model.embedding.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    torch.manual_seed(0)
    model(torch.zeros(64, 3, 8, 8), torch.zeros(64), torch.full((64,), 3))
    assert set(seen[0].tolist()) == {3, 10}


def test_published_files_hold_more_than_the_network() -> None:
    """The prefix of theirs is taken off, and the autoencoder left out."""
    model = small(num_classes=10)
    state = {
        name if name.startswith("cond_stage_model.") else f"model.diffusion_model.{name}": tensor
        for name, tensor in model.state_dict().items()
    }
    again = ldm.build(model.config)
    load_checkpoint(again, {"state_dict": {**state, "first_stage_model.quantize.weight": torch.ones(3)}})
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in again.state_dict().items())
    load_checkpoint(again, model.state_dict())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"input_size": 12}, "side 12 cannot be halved 3 times"),
        ({"channel_mult": (2, 4)}, "starts with 2"),
        ({"channel_mult": ()}, "channel_mult is empty"),
        ({"model_channels": 40}, "1 x 40 channels"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ldm.Config(**settings)
