"""DyDiT against the official implementation: masked as published, and gathered with the same results."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dimbench.diffusion.guidance import guided
from dimbench.diffusion.process import find_process, mean_loss
from dimbench.errors import UsageError
from dimbench.models import dydit
from tests import golden_data as golden
from tests.models import relatives

TINY = {"input_size": 8, "hidden_size": 32, "depth": 2, "num_heads": 4, "num_classes": 10}
FORMS = pytest.mark.parametrize("masked", [True, False], ids=["masked", "gathered"])


@FORMS
@pytest.mark.parametrize(("name", "file"), relatives.cases("dydit-tiny", "dydit-s-2"))
def test_outputs_and_decisions_of_the_official_model(name: str, file: str, masked: bool) -> None:
    card, case = relatives.card_and_case(name, file)
    model: Any = relatives.filled(dydit, card, masked=masked)
    network = guided(model, case["cfg_scale"], 3) if case["mode"] == "forward_with_cfg" else model
    options = {"complete": True} if case["mode"] == "complete_model" else {}
    with torch.no_grad():
        relatives.agree(network(*relatives.halves(case), **options), file)


@pytest.mark.parametrize("name", ["dydit-tiny", "dydit-s-2"])
def test_masks_of_the_official_model(name: str) -> None:
    card, case = relatives.card_and_case(name, f"{name}-a.npz")
    model: Any = relatives.filled(dydit, card, masked=True)
    routers = {
        (kind, place): getattr(block, module)
        for place, block in enumerate(model.blocks)
        for kind, module in (("attn", "attn_rate"), ("mlp", "mlp_rate"), ("token", "token_selection"))
    }
    with torch.no_grad(), relatives.watched(routers) as logits:
        model(*relatives.halves(case))
    expected = golden.arrays(f"relatives/{name}-a.npz")
    for kind in ("attn", "mlp", "token"):
        ours = torch.stack([dydit.decided(logits[kind, place], False) for place in range(len(model.blocks))], dim=1)
        if kind != "token":
            ours = torch.nn.functional.pad(ours, (1, 0), value=1.0)
        theirs = expected[f"{kind}_masks"]
        assert 0.2 < theirs.mean() < 0.8
        assert torch.equal(ours, theirs.round()), kind


def test_intermediate_states() -> None:
    card, case = relatives.card_and_case("dydit-tiny", "dydit-tiny-a.npz")
    model: Any = relatives.filled(dydit, card)
    first = model.blocks[0]
    modules = {
        "x_embedder": model.x_embedder,
        "t_embedder": model.t_embedder,
        "attn_rate_0": first.attn_rate,
        "mlp_rate_0": first.mlp_rate,
        "token_logits_0": first.token_selection,
    }
    masks = {"attn_masks", "mlp_masks", "token_masks", "block_0"}
    assert set(modules) | masks == set(case["intermediates"])
    x, t, y = relatives.halves(case)
    for row in range(2):  # one time after another, as gathering does
        with torch.no_grad(), relatives.watched(modules) as seen:
            model(x[row : row + 1], t[row : row + 1], y[row : row + 1])
        for name, ours in seen.items():
            expected = golden.arrays("relatives/dydit-tiny-a.npz")[name]
            assert golden.relative_error(ours, expected[row : row + 1]) <= relatives.TOLERANCE, name


@pytest.mark.parametrize("resolution", [256, 512])
@pytest.mark.parametrize(
    ("name", "row"),
    [("dydit-s2", "S/2"), ("dydit-b2", "B/2"), ("dydit-xl2-0.7", "XL/2"), ("dydit-xl2-0.5", "XL/2")],
)
def test_counts_of_the_official_model_with_everything_kept(name: str, row: str, resolution: int) -> None:
    everything = ": everything kept" if row == "XL/2" and resolution == 256 else ""
    relatives.check_counts(name, f"DyDiT-{row} (upper bound{everything})", resolution)


def small(**settings: Any) -> Any:
    return golden.fill(dydit.build(dydit.Config(**{**TINY, **settings})).eval(), ("pos_embed",))


def example(count: int) -> tuple[Tensor, Tensor, Tensor]:
    return golden.latents(count, 4, 8, 8), torch.linspace(1, 900, count), torch.arange(count)


def test_a_fresh_network_keeps_everything() -> None:
    model: Any = dydit.build(dydit.Config(**TINY)).eval()
    for layer in (*model.blocks, model.final_layer):
        torch.nn.init.normal_(layer.adaLN_modulation[1].weight, std=0.1)
    torch.nn.init.normal_(model.final_layer.linear.weight, std=0.1)
    given = example(3)
    with torch.no_grad():
        whole = model(*given, complete=True)
        assert whole.abs().max() > 0
        assert torch.allclose(model(*given), whole, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("tokens", [0, 1])
def test_only_what_is_kept_is_computed(heads: int, groups: int, tokens: int) -> None:
    """Products as they run, where biases alone decide; on a CPU the counter does not see those inside attention."""
    model = small(depth=1)
    block = model.blocks[0]
    with torch.no_grad():
        for rate, kept in ((block.attn_rate, heads), (block.mlp_rate, groups)):
            rate.router.weight.zero_()
            rate.router.bias.copy_(torch.tensor([1.0] * (kept - 1) + [-1.0] * (4 - kept)))
        block.token_selection.mlp_head[2].weight.zero_()
        block.token_selection.mlp_head[2].bias.fill_(tokens - 0.5)
        x, c = golden.latents(3, 16, 32), golden.latents(3, 32)
        with FlopCounterMode(display=False) as counter:
            block(x, c, c)
    width, count, rows = 32, 16, 3
    attention = rows * count * 4 * width**2 * heads // 4
    feed_forward = rows * count * tokens * 8 * width**2 * groups // 4
    routers = 2 * width * 3 + rows * count * (width * 2 + 2)
    assert counter.get_total_flops() == 2 * (attention + feed_forward + routers + rows * 6 * width**2)


def test_rows_of_several_times_are_as_alone() -> None:
    model = small()
    x, t, y = example(4)
    t = t[[0, 1, 0, 2]]
    with torch.no_grad():
        together = model(x, t, y)
        alone = torch.cat([model(x[i : i + 1], t[i : i + 1], y[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-5)


def test_training_decides_by_chance_and_teaches_the_routers() -> None:
    model = small(label_dropout=0.0).train()
    given = example(3)
    torch.manual_seed(0)
    first, second = model(*given), model(*given)
    assert not torch.equal(first, second)
    first.square().mean().backward()
    block = model.blocks[0]
    for module in (block.attn_rate, block.mlp_rate, block.token_selection):
        assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


def test_training_has_the_loss_of_the_complete_network_too_on_the_same_times_and_noise() -> None:
    model = dydit.build(dydit.Config(**TINY, label_dropout=0.0)).train()
    x, y, process = torch.randn(4, 4, 8, 8), torch.arange(4), find_process({"process": "gaussian"})
    seen: list[tuple[dict[str, Any], Tensor, Tensor]] = []

    def call(x: Tensor, t: Tensor, **form: Any) -> Tensor:
        seen.append((form, x, t))
        return model(x, t, y, **form)

    whole = mean_loss(process, model, call, x, torch.Generator().manual_seed(0))
    (masked, *first), (complete, *second) = seen
    assert (masked, complete) == ({}, {"complete": True})
    assert all(map(torch.equal, first, second))
    parts = (
        process.loss(lambda x, t, form=form: model(x, t, y, **form), x, torch.Generator().manual_seed(0)).mean()
        for form in (masked, complete)
    )
    torch.testing.assert_close(whole, sum(parts))


@pytest.mark.parametrize("target", [0.3, 1.0])
def test_training_leads_to_the_target(target: float) -> None:
    """The gradient of the ratio alone: routers that keep more than the target are lowered, the others raised."""
    model = small(label_dropout=0.0, target=target).train()
    torch.manual_seed(0)
    (0 * model(*example(3))).sum().backward()
    slopes = torch.stack([block.mlp_rate.router.bias.grad.sum() for block in model.blocks])
    assert (slopes > 0).all() if target < 0.5 else (slopes < 0).all()


def test_chance_in_training_is_the_difference_of_two_gumbel_noises_at_temperature_5() -> None:
    logits = torch.linspace(-9, 9, 40, requires_grad=True)
    torch.manual_seed(0)
    kept = dydit.decided(logits, training=True)
    kept.sum().backward()
    torch.manual_seed(0)
    first, second = -torch.log(-torch.log(torch.rand(2, 40)))
    soft = torch.sigmoid((logits.detach() + first - second) / 5)
    assert 10 < kept.sum() < 30
    torch.testing.assert_close(kept, (soft > 0.5).float())
    torch.testing.assert_close(logits.grad, soft * (1 - soft) / 5)


def test_the_ratio_counts_twice_its_squared_distance_from_the_target() -> None:
    model = small(label_dropout=0.0, target=0.3).train()
    torch.manual_seed(0)
    (0 * model(*example(3))).sum().backward()
    ours = [parameter.grad for parameter in model.blocks[0].mlp_rate.parameters()]
    seen: list[dydit.Masks] = []
    x, t, y = example(3)
    time = model.t_embedder(t)
    tokens = model.x_embedder(x) + model.pos_embed
    torch.manual_seed(0)
    for block in model.blocks:
        tokens = block(tokens, time + model.y_embedder(y), time, seen)
    off = sum(dydit.kept_share(masks, model.config) for masks in seen) / len(seen) - 0.3
    theirs = torch.autograd.grad(2 * off**2, list(model.blocks[0].mlp_rate.parameters()))
    torch.testing.assert_close(ours, list(theirs))


def test_share_of_the_work_is_that_of_the_authors_constants() -> None:
    """In GFLOPs per block of XL: 1.50994944 for attention, 2.717908992 for the feed-forward network."""
    half, whole = torch.full((1, 16), 0.5), torch.ones(1, 16)
    share = dydit.kept_share((half, whole, torch.full((1, 256, 1), 0.25)), dydit.Config())
    expected = (0.5 * 1.50994944 + 0.25 * 2.717908992) / (1.50994944 + 2.717908992)
    assert share.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"), [({"input_size": 7}, "side 7"), ({"num_heads": 7}, "7 heads"), ({"target": 0.0}, "target 0")]
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        dydit.Config(**settings)
