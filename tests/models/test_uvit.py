"""U-ViT against the official implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dimbench.diffusion.guidance import guided
from dimbench.errors import UsageError
from dimbench.models import uvit
from tests import golden_data as golden
from tests.models import relatives

TINY: dict[str, Any] = {"input_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 5}


def network(name: str) -> Any:
    card = golden.card(f"relatives/{name}.json")
    official = card["config"]
    settings = {"input_size": official["img_size"], "in_channels": official["in_chans"]}
    return relatives.filled(uvit, card, **settings, num_classes=official["num_classes"] - 1)


@pytest.mark.parametrize(("name", "file"), relatives.cases("uvit-tiny", "uvit-s-2", "uvit-m-2"))
def test_outputs_of_the_official_model(name: str, file: str) -> None:
    _, case = relatives.card_and_case(name, file)
    model = network(name)
    x, t, y = relatives.halves(case)
    with torch.no_grad():
        if case["mode"] == "guided_eps":  # the authors' scale is what is added to the conditional output
            pair = guided(model, 1 + case["cfg_scale"], None)
            both = torch.cat([y, torch.full_like(y, model.config.null_label)])
            ours = pair(x.repeat(2, 1, 1, 1), t.repeat(2), both)[: len(x)]
        else:
            ours = model(x, t, y)
    relatives.agree(ours, file)


def test_intermediate_states() -> None:
    _, case = relatives.card_and_case("uvit-tiny", "uvit-tiny-a.npz")
    model = network("uvit-tiny")
    parts = {name: getattr(model, name) for name in ("patch_embed", "mid_block", "norm")}
    blocks = {"block_0": model.in_blocks[0], "out_block_0": model.out_blocks[0], "last_block": model.out_blocks[-1]}
    with torch.no_grad(), relatives.watched({**parts, **blocks}) as seen:
        model(*relatives.halves(case))
    assert set(seen) == set(case["intermediates"])
    for name, ours in seen.items():
        relatives.agree(ours, case["file"], name)


ROWS = {
    "uvit-s2": ("U-ViT-S/2", 256),
    "uvit-s2-deep": ("U-ViT-S/2-Deep", 256),
    "uvit-m2": ("U-ViT-M/2", 256),
    "uvit-l2": ("U-ViT-L/2", 256),
    "uvit-h2": ("U-ViT-H/2", 256),
    "uvit-l4": ("U-ViT-L/4", 512),
    "uvit-h4": ("U-ViT-H/4", 512),
    "uvit-s2-cifar10": ("U-ViT-S/2-CIFAR10(pixels)", 32),
    "uvit-m4-imagenet64": ("U-ViT-M/4-IN64(pixels)", 64),
    "uvit-l4-imagenet64": ("U-ViT-L/4-IN64(pixels)", 64),
    "uvit-s2-t2i": ("U-ViT-S/2-T2I(COCO)", 256),
    "uvit-s2-deep-t2i": ("U-ViT-S/2-Deep-T2I(COCO)", 256),
}


@pytest.mark.parametrize(("name", "row"), ROWS.items())
def test_counts_of_the_official_model(name: str, row: tuple[str, int]) -> None:
    relatives.check_counts(name, *row)


def test_a_network_for_text_has_its_tokens_behind_the_time() -> None:
    config = uvit.Config(**{**TINY, "num_classes": 0, "clip_dim": 12, "num_clip_token": 3})
    model: Any = golden.fill(uvit.build(config)).eval()
    assert model.pos_embed.shape == (1, 1 + 3 + 16, 16)
    x, context = golden.latents(1, 4, 8, 8), golden.unit("context", 1, 3, 12)
    with torch.no_grad(), relatives.watched({"first": model.in_blocks[0].norm1}) as seen:
        out = model(x, torch.tensor([5.0]), context=context)
        model.in_blocks[0].norm1.register_forward_pre_hook(lambda _m, given: seen.update(tokens=given[0]))
        model(x, torch.tensor([5.0]), context=context)
    told = model.context_embed(context) + model.pos_embed[:, 1:4]
    torch.testing.assert_close(seen["tokens"][:, 1:4], told)
    assert out.shape == x.shape
    with pytest.raises(UsageError, match=r"3 tokens of width 12, and was given one of shape \(1, 2, 12\)"):
        model(x, torch.tensor([5.0]), context=context[:, :2])
    with pytest.raises(UsageError, match="given none; give it as context"):
        model(x, torch.tensor([5.0]))


def test_options_add_what_they_name() -> None:
    def names(**settings: Any) -> set[str]:
        return set(uvit.build(uvit.Config(**{**TINY, **settings})).state_dict())

    plain = names()
    assert names(conv=False) == {name for name in plain if not name.startswith("final_layer")}
    assert names(num_classes=0, label_dropout=1.0) == plain - {"label_emb.weight"}
    timed = {f"time_embed.{index}.{leaf}" for index in (0, 2) for leaf in ("weight", "bias")}
    assert names(mlp_time_embed=True) == plain | timed
    assert uvit.build(uvit.Config(**TINY)).label_emb.weight.shape[0] == 6
    assert uvit.build(uvit.Config(**TINY, label_dropout=0)).label_emb.weight.shape[0] == 5


def test_labels_are_dropped_in_training_alone() -> None:
    model = golden.fill(uvit.build(uvit.Config(**TINY, label_dropout=0.999999)))
    x, t = golden.latents(1, 4, 8, 8), torch.tensor([5.0])
    with torch.no_grad():
        for y, same in ((2, torch.tensor([5])), (2, torch.tensor([2]))):
            ours = model.train(same.item() == 5)(x, t, torch.tensor([y]))
            torch.testing.assert_close(ours, model.eval()(x, t, same))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input_size": 9}, "side 9 .* patches of 2"),
        ({"embed_dim": 100}, "embed_dim 100 .* multiple of 32"),
        ({"depth": 13}, "depth 13 .* even"),
        ({"clip_dim": 768}, "clip_dim 768 and num_classes 1000 .* set one to 0"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        uvit.Config(**settings)


def test_a_class_is_asked_for() -> None:
    with pytest.raises(UsageError, match="give labels as y"):
        uvit.build(uvit.Config(**TINY))(golden.latents(1, 4, 8, 8), torch.tensor([5.0]))
