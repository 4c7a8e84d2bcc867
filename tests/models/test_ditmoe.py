"""DiT-MoE against the official implementation, and what its experts cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dimbench import presets
from dimbench.diffusion.guidance import guided
from dimbench.diffusion.process import find_process
from dimbench.errors import UsageError
from dimbench.models import ditmoe
from tests import golden_data as golden
from tests.models import relatives

TINY = {"input_size": 8, "hidden_size": 32, "depth": 1, "num_heads": 2, "num_experts": 4}


@pytest.mark.parametrize(("name", "file"), relatives.cases("ditmoe-tiny", "ditmoe-s-2-8e2a"))
def test_outputs_and_choices_of_the_official_model(name: str, file: str) -> None:
    card, case = relatives.card_and_case(name, file)
    model: Any = relatives.filled(ditmoe, card)
    network = guided(model, case["cfg_scale"], 3) if case["mode"] == "forward_with_cfg" else model
    gates = {f"router_{index}_experts": block.moe.gate for index, block in enumerate(model.blocks)}
    with torch.no_grad(), relatives.watched(gates) as scores:
        relatives.agree(network(*relatives.halves(case)), file)
    expected = golden.arrays(f"relatives/{file}")
    for router in set(expected) & set(scores):
        ours = scores[router].topk(2).indices.sort(dim=-1).values
        assert torch.equal(ours, expected[router].long().view_as(ours)), router


def test_intermediate_states() -> None:
    card, case = relatives.card_and_case("ditmoe-tiny", "ditmoe-tiny-a.npz")
    model: Any = relatives.filled(ditmoe, card)
    modules = {name: getattr(model, name) for name in ("x_embedder", "t_embedder", "y_embedder")}
    modules |= {"block_0": model.blocks[0], "last_block": model.blocks[-1]}
    assert set(modules) == set(case["intermediates"])
    with torch.no_grad(), relatives.watched(modules) as seen:
        model(*relatives.halves(case))
    for name, ours in seen.items():
        relatives.agree(ours, "ditmoe-tiny-a.npz", name)


@pytest.mark.parametrize(
    ("size", "depth", "head"),
    [
        ("S/2-8E2A", 0, 0),
        ("S/2-16E2A", 0, 0),
        ("B/2-8E2A", 0, 0),
        ("L/2-8E2A", 0, 0),
        ("XL/2-8E2A", 28, 72),
        ("G/2-16E2A", 40, 88),
    ],
)
def test_counts_of_the_official_model(size: str, depth: int, head: int) -> None:
    norms = 4 * depth * head  # of queries and keys, which the table leaves out
    relatives.check_counts(f"ditmoe-{size.replace('/', '').lower()}", f"DiT-MoE-{size}", 256, further=norms)


def layer(**settings: Any) -> Any:
    return golden.fill(ditmoe.Experts(ditmoe.Config(**{**TINY, **settings})).eval())


@pytest.mark.parametrize("chosen", [1, 2, 4])
def test_experts_are_those_that_the_scores_choose(chosen: int) -> None:
    """Against every expert on every token, weighted by the largest scores."""
    experts = layer(num_experts_per_tok=chosen)
    x = golden.latents(2, 5, 32)
    with torch.no_grad():
        scores = experts.gate(x.flatten(0, 1)).view(2, 5, 4)
        kept = torch.where(scores >= scores.topk(chosen).values[..., -1:], scores, 0)
        everything = torch.stack([expert(x) for expert in experts.experts], dim=-1)
        expected = (everything * kept[:, :, None]).sum(-1) + experts.shared_experts(x)
        torch.testing.assert_close(experts(x), expected)


def test_an_expert_that_no_token_chooses_is_not_run() -> None:
    experts = layer()
    with torch.no_grad():
        experts.gate.weight.copy_(torch.tensor([1.0, 0.5, -1.0, -2.0])[:, None].expand(4, 32))
        rows = []
        for expert in experts.experts:
            expert.register_forward_pre_hook(lambda _m, args: rows.append(len(args[0])))
        experts(torch.ones(2, 5, 32))
    assert rows == [10, 10, 0, 0]


def test_every_chosen_expert_learns() -> None:
    experts = layer()
    experts(golden.latents(4, 64, 32)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in experts.parameters())


def test_the_count_of_shapes_is_what_runs() -> None:
    totals = []
    for device in ("cpu", "meta"):
        with torch.device(device), FlopCounterMode(display=False) as counter:
            ditmoe.Experts(ditmoe.Config(**TINY))(torch.ones(3, 7, 32))
        totals.append(counter.get_total_flops())
    tokens, width = 21, 32
    assert totals[0] == totals[1] == 2 * tokens * (4 * width + 2 * 12 * width**2 + 6 * width**2)


def test_training_balances_the_experts() -> None:
    """Where nothing else is asked of it, the gate gets the gradient of the balancing loss; the output stays."""
    experts = layer()
    x = golden.latents(2, 5, 32)

    def gradient(training: bool) -> tuple[Tensor, Tensor]:
        out = experts.train(training)(x)
        return out, torch.autograd.grad(0 * out.sum(), experts.gate.weight)[0]

    (quiet, nothing), (out, ours) = gradient(False), gradient(True)
    assert torch.equal(out, quiet)
    assert nothing.abs().max() == 0
    scores = experts.gate(x.flatten(0, 1))
    chosen = scores.topk(2).indices
    share = torch.stack([(chosen == e).sum() / chosen.numel() for e in range(4)])
    (expected,) = torch.autograd.grad(0.01 * 4 * (scores.mean(0) * share).sum(), experts.gate.weight)
    torch.testing.assert_close(ours, expected)


def test_normed_attention_has_the_keys_of_the_large_models() -> None:
    with torch.device("meta"):
        keys = set(ditmoe.build(ditmoe.Config(**TINY, qk_norm=True)).blocks[0].attn.state_dict())
    layers = ("Wqkv", "out_proj", "q_norm", "k_norm")
    assert keys == {f"{name}.{part}" for name in layers for part in ("weight", "bias")}


def test_the_large_models_are_drawn_by_taking_the_velocity_off() -> None:
    """Told k/n for k from n to 1, z loses 1/n of the velocity."""
    told = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        told.append(t[0].item())
        return torch.cos(x) * t.view(-1, 1, 1, 1)

    start = z = golden.latents(2, 4, 4, 4)
    ours = find_process(presets.find("ditmoe-xl2-8e2a").diffusion).sample(network, start, golden.noise, "euler", 4)
    assert told == pytest.approx([1, 0.75, 0.5, 0.25])
    for k in (4, 3, 2, 1):
        z = z - torch.cos(z) * (k / 4) / 4
    torch.testing.assert_close(ours, z)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_experts_per_tok": 9}, "9 cannot be chosen of 8"),
        ({"num_experts": 0}, "num_experts 0 "),
        ({"input_size": 7}, "side 7"),
        ({"num_heads": 7}, "7 heads"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ditmoe.Config(**settings)
