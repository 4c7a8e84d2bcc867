"""All methods: off by their neutral setting they change no bit, what they leave out is what is counted, and what they
cannot wrap or what had no effect is refused."""

from __future__ import annotations

import dataclasses
import logging
import math
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dimbench import backbone, methods
from dimbench.backbone import Backbone
from dimbench.commands import options
from dimbench.counting.bill import _Ledger
from dimbench.diffusion.flow import Flow
from dimbench.diffusion.process import find_process
from dimbench.errors import DimbenchError, UsageError
from dimbench.from_diffusers import FromDiffusers
from dimbench.layers import adaln, rope
from dimbench.layers.attention import SelfAttention
from dimbench.methods import quantisation, reuse, tome
from dimbench.methods.fake_quantisation import balance, rounded, spearman
from dimbench.methods.fast_attention import windowed
from dimbench.methods.first_block import chain
from dimbench.methods.guiding import Guided
from dimbench.methods.method import check_uncompiled
from dimbench.methods.pace import Pace
from dimbench.methods.quantisation import Int8
from dimbench.methods.reuse import Reused
from dimbench.methods.tome import matching
from dimbench.preset_files import completed
from dimbench.sampling.image_cost import image_cost, settings_of
from dimbench.sampling.noise_levels import sigma
from dimbench.sampling.run import Run
from dimbench.sampling.sample_noise import SampleNoise
from dimbench.weights import catalog, checkpoints
from tests.models.small_diffusers import SMALL

NEUTRAL = {
    "fora": "fora:every=1",
    "taylor": "taylor:every=1,order=2",
    "deep": "deep:every=1",
    "first-block": "first-block:threshold=0",
    "state": "state:every=1",
    "tome": "tome:ratio=0",
    "interval": "interval",
    "cfg-cache": "cfg-cache:every=1",
    "teacache": "teacache:threshold=0",
    "fast-attn": "fast-attn:plan=f",
    "attention": "attention=flash",  # of a CPU
    "guidance": "guidance",
    "diffusers-first-block": "diffusers-first-block:threshold=0",
    "diffusers-pab": "diffusers-pab:every=1",
    "diffusers-faster": "diffusers-faster:every=1",
    "diffusers-taylor": "diffusers-taylor:every=1",
    "diffusers-mag": "diffusers-mag:ratios=1/1/1/1/1/1/1,most=0",
}


def network_for(method: str) -> tuple[Backbone, nn.Module]:
    """A small network with weights that are nowhere zero, of a kind that the method wraps."""
    if method.startswith("diffusers-"):
        return nowhere_zero(of_diffusers("FluxTransformer2DModel"))
    small = "ddt-b2,input_size=4,hidden_size=32,num_groups=2,num_blocks=3,num_encoder_blocks=2"
    return nowhere_zero(backbone.find({"deep": "udit-digits", "state": small}.get(method, "dit-digits")))


def of_diffusers(class_name: str, process: str = "rectified-flow") -> FromDiffusers:
    config, _ = SMALL[class_name]
    trained_as = backbone._process(process)
    return FromDiffusers(f"diffusers:{class_name}", class_name, config, resolution=128, process=trained_as)


def nowhere_zero(found: Backbone) -> tuple[Backbone, nn.Module]:
    model = backbone.created(found)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return found, found.running(model)


def drawn(found: Backbone, network: nn.Module, *texts: str, steps: int = 7) -> Tensor:
    how = settings_of(found, None, steps, 1.5, texts)
    with torch.inference_mode():
        return Run(found, network, find_process(found.diffusion), how)(SampleNoise(3, range(2)))


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_a_neutral_setting_changes_no_bit(name: str) -> None:
    found, network = network_for(name)
    plain = drawn(found, network)
    assert torch.equal(drawn(found, network, NEUTRAL[name]), plain)
    assert drawn(found, network, _effective(name)).isfinite().all()
    assert torch.equal(drawn(found, network), plain), "something of the method is left in the network"


OF_ALL = {"fora", "taylor", "interval", "guidance", "cfg-cache", "attention"}
SMALL_DIT = {"hidden_size": 32, "depth": 2, "num_heads": 2}
FAMILIES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "dit-digits": ({}, {*OF_ALL, "first-block", "teacache", "fast-attn", "tome"}),
    "udit-digits": ({}, {*OF_ALL, "deep", "fast-attn"}),
    "uvit-digits": ({}, {*OF_ALL, "deep", "fast-attn", "tome"}),
    "mmdit-digits": ({}, {*OF_ALL, "first-block", "teacache", "fast-attn", "tome"}),
    "dim-digits": ({}, OF_ALL - {"attention"}),
    "dimsum-digits": ({}, OF_ALL),
    "jit-digits": ({}, {*OF_ALL, "fast-attn", "tome"}),
    "pixart-xl2": (
        {**SMALL_DIT, "caption_channels": 8},
        {*OF_ALL, "first-block", "teacache", "fast-attn", "tome"},
    ),
    "lightningdit-b1": (SMALL_DIT, {*OF_ALL, "first-block", "teacache", "fast-attn", "tome"}),
    "fitv2-xl2": (
        {**SMALL_DIT, "adaln_lora_dim": 16},
        {*OF_ALL, "first-block", "teacache", "fast-attn", "tome"} - {"interval"},  # its solver chooses its times
    ),
    "ddt-b2": (
        {"hidden_size": 32, "num_groups": 2, "num_blocks": 3, "num_encoder_blocks": 2},
        {*OF_ALL, "state", "fast-attn", "tome"},
    ),
    "pmf-b16": (
        {"hidden_size": 32, "depth": 3, "num_heads": 2, "aux_head_depth": 1, "bottleneck_dim": 8},
        {*OF_ALL, "fast-attn", "tome"},
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_neutral_setting_changes_no_bit_of_any_family(family: str) -> None:
    settings, wrapped = FAMILIES[family]
    found, network = nowhere_zero(backbone.find(family, 64 if settings else None, settings))
    plain, once, seen = drawn(found, network), one_call(found, network), set()
    for name, text in NEUTRAL.items():
        try:
            assert torch.equal(drawn(found, network, text), plain), name
        except DimbenchError:
            continue
        (method,) = methods.parse([text])
        with method.applied(network):
            assert torch.equal(one_call(found, network), once), name
        seen.add(name)
    assert seen == wrapped


def one_call(found: Backbone, network: nn.Module, rows: int = 2) -> Tensor:
    x = torch.randn(rows, *found.state, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        return found.call(network, x, torch.full((rows,), 0.5), found.given(range(rows), "cpu"))


ELSEWHERE = ("fp8", "classifier")  # what they need is not here
HERE = [name for name, kind in methods.METHODS.items() if not kind.absent() and name not in ELSEWHERE]


@pytest.mark.parametrize("name", HERE)
def test_an_effect_is_seen_and_the_same_in_each_run(name: str) -> None:
    found, network = network_for(name)
    once = drawn(found, network, _effective(name))
    assert not torch.equal(once, drawn(found, network))
    assert torch.equal(drawn(found, network, _effective(name)), once)


def _effective(name: str) -> str:
    return {
        "interval": "interval:low=300,high=700",
        "first-block": "first-block:threshold=0.8",
        "teacache": "teacache:threshold=0.9",
        "guidance": "guidance:scale=3",
        "autoguidance": "autoguidance:guide=udit-digits",
        "diffusers-first-block": "diffusers-first-block:threshold=0.5",
        "diffusers-taylor": "diffusers-taylor:every=3",
        "diffusers-mag": "diffusers-mag:ratios=1/1/1/1/1/1/1",
    }.get(name, name)


def count(name: str, steps: int, *texts: str, cfg: float = 1.5) -> int:
    found = backbone.find(name)
    return image_cost(found, settings_of(found, None, steps, cfg, texts), decoded=False).macs("macs")


@pytest.mark.parametrize(("steps", "computed"), [(9, 3), (10, 4)])
@pytest.mark.parametrize("method", ["fora", "taylor"])
def test_fora_computes_the_branches_once_in_every_steps(method: str, steps: int, computed: int) -> None:
    found = backbone.find("dit-s2")
    width, tokens, depth = 384, 256, 12
    branches = depth * (12 * tokens * width**2 + 2 * tokens**2 * width)  # attention's 4 + mlp's 8, scores and values
    branches += depth * 4 * width**2  # of the modulation the gates alone remain
    plain = count("dit-s2", steps)
    assert plain - count("dit-s2", steps, method) == 2 * (steps - computed) * branches
    assert found.name == "dit-s2"


@pytest.mark.parametrize(
    "name", ["mmdit-d12", "pixart-xl2", "ditmoe-s2-8e2a", "flux1-dev", "lumina-image-2", "qwen-image", "z-image-turbo"]
)
def test_branches_are_known_by_the_names_that_networks_have_for_them(name: str) -> None:
    """What remains are embeddings, modulation and the last layer."""
    assert 0.5 < count(name, 4, "fora:every=2", cfg=1.0) / count(name, 4, cfg=1.0) < 0.51


def test_a_block_names_its_parts_itself() -> None:
    found, network = nowhere_zero(backbone.find("dit-digits"))
    plain, both = drawn(found, network), drawn(found, network, "fora")
    for block in network.blocks:
        block.reusable_parts = ("mlp",)
    alone = drawn(found, network, "fora")
    assert not torch.equal(alone, plain)
    assert not torch.equal(alone, both)
    network.blocks[0].reusable_parts = ("mlp", "widening")
    with pytest.raises(UsageError, match="has no part 'widening' of its reusable_parts"):
        drawn(found, network, "fora")


@pytest.mark.parametrize("method", ["fora", "taylor"])
def test_streams_that_attend_to_each_other_are_reused(method: str) -> None:
    found, network = nowhere_zero(backbone.find("mmdit-digits"))
    plain = drawn(found, network)
    assert torch.equal(drawn(found, network, f"{method}:every=1"), plain)
    reused = drawn(found, network, method)
    assert 0.001 < ((reused - plain).norm() / plain.norm()).item() < 1
    assert torch.equal(drawn(found, network), plain)


def test_a_network_that_is_told_a_list_of_samples_is_reused() -> None:
    small = of_diffusers("ZImageTransformer2DModel")
    longer = {**small.config, "axes_lens": [1024, 64, 64]}  # for the usual text
    found, network = nowhere_zero(dataclasses.replace(small, config=longer))
    plain = drawn(found, network)
    assert torch.equal(drawn(found, network, "fora:every=1"), plain)
    assert not torch.equal(drawn(found, network, "fora"), plain)


@pytest.mark.parametrize(("methods_", "of_one"), [(["fora"], 24), (["fora", "tome"], 24)])
def test_norms_of_branches_that_are_reused_see_one_token(
    methods_: list[str], of_one: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    norm = adaln.plain_norm
    monkeypatch.setattr(adaln, "plain_norm", lambda x: seen.append(x.shape[1]) or norm(x))
    drawn(*network_for("fora"), *methods_, steps=4)  # of which two are computed
    assert seen.count(1) == of_one  # two norms in each of six blocks
    assert seen.count(16) == 4 + 4 * 12 - of_one  # and one behind the last


@pytest.mark.parametrize(
    "name", ["dit-digits", "lightningdit-b1,input_size=4,hidden_size=32,num_heads=2,wo_shift=True"]
)
@pytest.mark.parametrize("texts", [["fora"], ["taylor"], ["fora", "fake-w8a8"], ["fake-w8a8", "fora"]])
def test_gates_alone_are_those_of_the_whole_modulation(
    name: str, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, network = nowhere_zero(backbone.find(name))
    alone = drawn(found, network, *texts)
    monkeypatch.setattr(reuse, "_of_gates", lambda modulation, gates, unread: modulation.forward)
    whole = drawn(found, network, *texts)
    assert torch.allclose(alone, whole, rtol=0, atol=1e-5 * whole.abs().max().item())  # rounding over seven steps


def test_a_solver_that_asks_several_times_per_step_reuses_by_steps() -> None:
    plain = count("sit-digits", 7, cfg=1.0)  # Heun: six steps of two calls
    branches = 6 * (12 * 16 * 96**2 + 2 * 16**2 * 96 + 4 * 96**2)
    assert plain - count("sit-digits", 7, "fora", cfg=1.0) == 2 * 4 * branches


def test_deep_leaves_out_what_lies_within() -> None:
    plain, first, second = (count("udit-digits", 6, *w) for w in ([], ["deep"], ["deep:level=2"]))
    assert first < second < plain
    assert count("skipdit-s2", 6, "deep") < 0.5 * count("skipdit-s2", 6)
    assert count("uvit-s2", 6, "deep:every=2,level=3") < count("uvit-s2", 6)


def test_deep_reuses_what_the_inner_part_gave() -> None:
    found, network = network_for("deep")
    x, t, given = backbone.example(found, 2)
    (deep,) = methods.parse(["deep:every=2"])
    with torch.inference_mode(), deep.applied(network) as step:
        first = network(x, t, **given)
        step(1)
        assert torch.allclose(network(x, t, **given), first, atol=1e-6), "the same question has the same answer"
        other = network(x + 1, t, **given)
        step(2)
        network(x, t, **given)
    assert not torch.allclose(other, network(x + 1, t, **given), atol=1e-4)


def test_outside_of_the_interval_a_call_has_half_the_rows() -> None:
    found = backbone.find("dit-digits")
    how = settings_of(found, None, 11, 1.5, ["interval:low=250,high=650"])  # of 0, 100, 200 (0, 99.9, ...) 999
    cost = image_cost(found, how, decoded=False)
    assert (cost.calls, cost.passes) == (11, 11 + 4)


def test_interval_at_scale_is_guidance_that_is_switched_off() -> None:
    found, network = network_for("interval")
    how = settings_of(found, None, 7, 1.5)
    by_scale = dataclasses.replace(how, guided_interval={"low": 300, "high": 700})
    with torch.inference_mode():
        noise, process = SampleNoise(3, range(2)), find_process(found.diffusion)
        expected = Run(found, network, process, by_scale)(noise)
    got = drawn(found, network, "interval:low=300,high=700")
    off = (got - expected).norm() / expected.norm()
    assert off < 1e-3, "two roundings of untold + 1 (told - untold) through seven steps of a network of large values"
    assert (drawn(found, network) - expected).norm() / expected.norm() > 0.01


def test_cfg_cache_runs_the_unguided_half_once_in_every_steps() -> None:
    found = backbone.find("dit-digits")
    cost = image_cost(found, settings_of(found, None, 9, 1.5, ["cfg-cache:every=3"]), decoded=False)
    assert cost.passes == 9 + 3


@pytest.mark.parametrize(("text", "passes"), [("cfg-cache", 20 + 14), ("guidance:scale=3", 40), ("fora:every=2", 40)])
def test_methods_follow_the_steps_of_a_solver_that_chooses_them(text: str, passes: int) -> None:
    """Two calls to find the first length, then three steps of six; of 49 points several lie within each."""
    found, network = nowhere_zero(backbone.find("sit-digits"))
    how = dataclasses.replace(settings_of(found, None, 50, 1.5, [text]), sampler="dopri5")
    run = Run(found, network, find_process(found.diffusion), how)
    with torch.inference_mode():
        run(SampleNoise(3, range(2)))
    assert (run.calls, run.passes) == (20, passes)


@pytest.mark.parametrize("text", ["interval", "guidance:power=2", "guidance:high=3"])
def test_times_that_a_solver_chooses_are_not_known_before(text: str) -> None:
    found, network = network_for("fora")
    how = dataclasses.replace(settings_of(backbone.find("sit-digits"), None, 7, 1.5, [text]), sampler="dopri5")
    with pytest.raises(UsageError, match="dopri5 chooses its times"):
        Run(found, network, find_process(backbone.find("sit-digits").diffusion), how)(SampleNoise(3, range(2)))


@pytest.mark.parametrize("text", ["first-block:threshold=0", "teacache:threshold=0"])
def test_what_never_leaves_anything_out_is_counted_on_shapes(text: str) -> None:
    assert count("dit-s2", 4, text) == count("dit-s2", 4)
    with pytest.raises(UsageError, match="count on real tensors with --real"):
        count("dit-s2", 4, text.replace("=0", "=0.1"))


def test_cfg_cache_adds_the_difference_that_it_kept() -> None:
    told = lambda x, t: x + 2  # noqa: E731
    parts = Guided(lambda x, t: (x + 2, x), told, lambda x, t, told, untold: untold + 3 * (told - untold), tuple)
    (method,) = methods.parse(["cfg-cache"])
    x, t = torch.ones(2, 1), torch.ones(2)
    with method.guiding(parts) as (tell, call):
        first = call(x, t)
        tell(1)
        assert torch.equal(call(x + 1, t), first + 1)
        tell(2)
        call(x, t)


@pytest.mark.parametrize("every", [1, 2])
def test_what_no_call_reuses_is_not_kept(every: int) -> None:
    pace = Pace(every)
    reused = Reused(lambda x: x + 1, pace)
    pace.begin((1, 2))
    reused(torch.ones(1, 2))
    assert bool(reused.known) == (every > 1)


def test_a_series_is_exact_for_its_own_polynomials() -> None:
    """Values on a line are continued exactly by order 1, those on a parabola not by order 0."""
    now = [0.0]
    pace = Pace(every=2, most=2)
    reused = Reused(lambda x: x + now[0], pace, order=1)
    x = torch.zeros(3)
    got = []
    for step in range(8):
        now[0] = float(step)
        pace.tell(step)
        pace.begin(tuple(x.shape))
        got.append(reused(x)[0].item())
    assert got == [0, 0, 2, 3, 4, 5, 6, 7]
    assert pace.left_out == 4


def test_merged_tokens_come_back_at_their_places() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 16, 8, generator=generator)
    x[:, 5] = x[:, 2]  # the token at row 1, column 1 is like that at row 0, column 2, which is kept
    merge, unmerge, _ = matching(x, 1, UsageError)
    merged = merge(x)
    assert merged.shape == (2, 15, 8)
    assert torch.allclose(unmerge(merged), x), "two equal tokens are merged without loss"
    merge, unmerge, _ = matching(x, 12, UsageError)
    assert merge(x).shape == (2, 4, 8)
    assert unmerge(merge(x)).shape == x.shape


def test_what_is_merged_is_the_mean_of_the_likest_tokens() -> None:
    """By a plain loop over the tokens, for two images of which each has its own."""
    x = torch.randn(2, 36, 8, generator=torch.Generator().manual_seed(1))
    corners = [6 * i + j for i in (0, 2, 4) for j in (0, 2, 4)]
    merge, unmerge, _ = matching(x, 20, UsageError)
    got = unmerge(merge(x))
    for image, back in zip(x, got, strict=True):
        alike = nn.functional.normalize(image, dim=-1) @ nn.functional.normalize(image[corners], dim=-1).T
        others = sorted(set(range(36)) - set(corners), key=lambda i: -alike[i].max().item())
        groups = {c: [c] for c in corners} | {i: [i] for i in others[20:]}
        for i in others[:20]:
            groups[corners[int(alike[i].argmax())]].append(i)
        for group in groups.values():
            assert torch.allclose(back[group], image[group].mean(dim=0).expand(len(group), -1), atol=1e-6)


def test_the_first_branch_of_a_block_decides_which_tokens_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    matched: list[Tensor] = []
    monkeypatch.setattr(tome, "matching", lambda x, *rest: matched.append(x) or matching(x, *rest))
    b = backbone.find("dit-digits")
    network = b.running(backbone.created(b))
    x, t, given = backbone.example(b, 2)
    first = []
    for block in network.blocks:
        block.attn.register_forward_pre_hook(lambda _, inputs: first.append(inputs[0]))
    with methods.parse(["tome"])[0].applied(network), torch.inference_mode():
        for _ in range(2):
            b.call(network, x, t, given)
        network.blocks[0].attn(first[0])  # before its feed-forward network: another call begins
        network.blocks[0].attn(first[0])
    assert len(matched) == 2 * len(network.blocks) + 2
    assert all(torch.equal(one, other) for one, other in zip(matched, first, strict=True))


@pytest.mark.parametrize("text", ["tome", "fast-attn"])
@pytest.mark.parametrize("before", [-1, 1.5, "one", True, None])
def test_a_block_that_says_no_number_of_tokens_before_the_images_is_refused(text: str, before: Any) -> None:
    network = Turned()
    network.blocks[0].tokens_before = before
    (method,) = methods.parse([text])
    with pytest.raises(UsageError, match=r"tokens_before of a Module is .*; give a whole number, 0 or more"):
        method.applied(network).__enter__()


class FeedForwardFirst(nn.Module):
    """A block that lists its feed-forward network before the attention, which it calls first."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Module()])
        block = self.blocks[0]
        block.mlp = self.mlp = nn.Linear(8, 8)
        block.attn = self.attn = SelfAttention(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return self.mlp(tokens + self.attn(tokens))


def test_the_order_of_the_calls_and_not_of_the_parts_says_which_branch_is_first() -> None:
    network = FeedForwardFirst()
    (method,) = methods.parse(["tome"])
    first, second = torch.randn(2, 1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        with method.applied(network):
            alone = network(second)
        with method.applied(network):
            network(first)
            assert torch.equal(network(second), alone)


def test_a_merged_token_keeps_the_place_of_the_one_that_others_were_averaged_into() -> None:
    x = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0))
    merge, _, own = matching(x, 7, UsageError)
    kept = {0, 2, 8, 10}
    shares = merge(torch.eye(16).expand(2, -1, -1))  # (2, 9, 16): of which tokens each merged one is made
    expected = [
        [(set(s.nonzero().flatten().tolist()) & kept or {int(s.argmax())}).pop() for s in row] for row in shares
    ]
    assert own(torch.arange(16)[None, :, None])[..., 0].tolist() == expected


class Turned(nn.Module):
    """Attention with rotary positions among the pixels, behind one token that is not of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Module()])
        self.attn = self.blocks[0].attn = SelfAttention(8, 2)
        self.blocks[0].tokens_before = 1
        self.rotation = rope.along(torch.arange(17.0), 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return self.attn(torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1), self.rotation)


def test_merged_tokens_are_turned_to_their_own_places_and_others_are_not_merged() -> None:
    network = Turned()
    x = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    (method,) = methods.parse(["tome:ratio=0.5"])
    with torch.inference_mode(), method.applied(network):
        got = network(x)
    tokens = x.flatten(2).transpose(1, 2)
    merge, unmerge, own = matching(tokens, 8, UsageError)
    for row in range(2):
        places = [0, *(1 + own(torch.arange(16)[None, :, None])[row, :, 0]).tolist()]
        merged = torch.cat([tokens.mean(dim=1, keepdim=True), merge(tokens)], dim=1)
        with torch.inference_mode():
            out = network.attn(merged[row : row + 1], network.rotation[places]).expand(2, -1, -1)
        torch.testing.assert_close(got[row], torch.cat([out[:, :1], unmerge(out[:, 1:])], dim=1)[row])


@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_merged_tokens_are_left_out_of_what_is_executed(ratio: float) -> None:
    """uvit-s2: 256 tokens and two before them in 13 blocks; each finds the likest of 256 among 64, once."""
    blocks, width, tokens, before = 13, 512, 256, 2
    gone = int(ratio * tokens)
    left = tokens + before - gone
    projections, core = 12 * gone * width**2, 2 * ((tokens + before) ** 2 - left**2) * width
    found = tokens * 64 * width
    plain, merged = (count("uvit-s2", 4, *texts, cfg=1.0) for texts in ((), (f"tome:ratio={ratio}",)))
    assert plain - merged == 4 * blocks * (projections + core - found)


def test_of_two_streams_the_image_is_merged_alone() -> None:
    """mmdit-d12: 256 image tokens and 154 of a text, which ends in the last block."""
    blocks, width, tokens, text = 12, 768, 256, 154
    gone = tokens // 2
    projections, core = 12 * gone * width**2, 2 * ((tokens + text) ** 2 - (tokens + text - gone) ** 2) * width
    found = tokens * 64 * width
    plain, merged = (count("mmdit-d12", 4, *texts, cfg=1.0) for texts in ((), ("tome",)))
    assert plain - merged == 4 * blocks * (projections + core - found)


@pytest.mark.parametrize(
    "name", ["uvit-s2-t2i", "reg-b2", "jit-b16", "pmf-b16", "imf-b2", "lightningdit-b1", "ditdh-xl", "ddt-b2", "ldm-4"]
)
def test_tokens_are_merged_where_others_stand_before_them_or_positions_turn_them(name: str) -> None:
    assert count(name, 4, "tome", cfg=1.0) < 0.86 * count(name, 4, cfg=1.0)


DRIFTING = {name: FAMILIES[name][0] for name in ("uvit-digits", "mmdit-digits", "jit-digits", "lightningdit-b1")}


@pytest.mark.parametrize("name", DRIFTING)
def test_the_more_is_merged_the_further_samples_drift(name: str) -> None:
    found, network = nowhere_zero(backbone.find(name, 64 if DRIFTING[name] else None, DRIFTING[name]))
    plain = one_call(found, network, 32)
    offs = []
    for ratio in (0.125, 0.5, 0.75):
        (method,) = methods.parse([f"tome:ratio={ratio}"])
        with method.applied(network):
            offs.append(((one_call(found, network, 32) - plain).norm() / plain.norm()).item())
    assert 0 < offs[0] < offs[1] < offs[2] < 1


def test_rounding_keeps_the_grid() -> None:
    x = torch.tensor([[-1.0, 0.5, 0.26, 0.0]])
    assert torch.allclose(rounded(x, 2), torch.tensor([[-1.0, 0.0, 0.0, 0.0]]))  # half rounds to even
    assert (rounded(x, 8) - x).abs().max() <= 0.5 / 127 + 1e-7
    assert torch.equal(rounded(torch.zeros(1, 3), 8), torch.zeros(1, 3))


def test_balanced_channels_share_their_largest_magnitudes() -> None:
    weight = torch.tensor([[4.0, 0.5, 1.0], [-1.0, 0.1, 0.2]])
    inputs = [torch.tensor([1.0, 8.0, 1.0])]
    scale = balance(inputs, weight)
    assert torch.allclose(inputs[0] * scale, torch.tensor([2.0, 2.0, 1.0]))
    assert torch.allclose(inputs[0] * scale, (weight / scale).abs().amax(dim=0))


def test_calls_whose_order_is_that_of_the_weights_weigh_less() -> None:
    weight = torch.tensor([[1.0, 2.0, 3.0]])
    alike, opposed = torch.tensor([1.0, 2.0, 30.0]), torch.tensor([30.0, 2.0, 1.0])
    assert spearman(alike, weight[0]) == pytest.approx(1)
    assert spearman(opposed, weight[0]) == pytest.approx(-1)
    share = math.exp(1) / (math.exp(1) + math.exp(-1))
    assert torch.allclose(weight[0] / balance([alike, opposed], weight) ** 2, share * opposed + (1 - share) * alike)


def test_a_salient_channel_costs_less_when_it_is_balanced() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(64, 32, generator=generator), torch.randn(48, 32, generator=generator)
    x[:, 3] *= 100
    scale = balance([x.abs().amax(dim=0)], weight)

    def error(x: Tensor, weight: Tensor) -> float:
        return float((rounded(x, 8) @ rounded(weight, 8).T - x @ weight.T).norm())

    assert error(x * scale, weight / scale) < 0.5 * error(x, weight)


def test_calibrated_rounding_is_the_same_in_each_run_and_of_its_own() -> None:
    found, network = network_for("fake-w4a8")
    once = drawn(found, network, "fake-w4a8:calibrate=4")
    assert torch.equal(drawn(found, network, "fake-w4a8:calibrate=4"), once)
    assert not torch.equal(drawn(found, network, "fake-w4a8"), once)
    assert count("dit-digits", 4, "fake-w4a8:calibrate=4") == count("dit-digits", 4)
    assert [str(*methods.parse([text])) for text in ("fake-w8a8", "fake-w8a8:calibrate=4")] == [
        "fake-w8a8", "fake-w8a8:calibrate=4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("foro", "did you mean fora"),
        ("fora:every=0", "out of range"),
        ("fora:every=x", "no int"),
        ("fora:n=2", "no setting"),
        ("fora:3", "give fora:every=3"),
        ("tome:ratio=0.9", "out of range"),
        ("taylor:order=-1", "out of range"),
        ("first-block:threshold=nan", "out of range"),
        ("interval:low=3,high=2", "in order"),
        ("int8=3", "takes no arguments"),
        ("state=x", "no int"),
    ],
)
def test_what_is_not_understood_is_said(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        methods.parse([text])


@pytest.mark.parametrize("text", ["fora:every=1234567", "first-block:threshold=0.12345678", "tome:ratio=0.5"])
def test_a_method_says_every_digit_of_its_settings(text: str) -> None:
    (method,) = methods.parse([text])
    assert str(method) == text
    assert methods.parse([str(method)]) == (method,)


def test_two_that_change_the_same_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        methods.parse(["fora", "first-block"])
    assert len(methods.parse(["fora", "interval", "fake-w8a8", "tome"])) == 4


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("dit-digits", "deep", "no long skips"),
        ("udit-digits", "deep:level=3", "nothing lies within"),
        ("udit-digits", "first-block", "no chain"),
        ("dimsum-digits", "first-block", "more than the tokens"),
        ("dimsum-digits", "teacache", "more than the tokens"),
        ("udit-digits", "tome", "Attention is given a map .* in which a merged token leaves a hole"),
        ("dydit-s2", "tome", "GroupedMlp is given tokens of no image"),
        ("dit3d-s4", "tome", "are no images"),
        ("adm-256", "tome", "none of its blocks"),
        ("adm-256", "fora", "none of its blocks"),
        ("dimsum-digits", "tome", "scan the tokens in an order"),
        ("dico-s", "fora", "none of its blocks"),
        ("dit-digits", "state", "no encoder whose state"),
        ("ddt-b2", "first-block", "its encoder and its decoder are two chains"),
        ("ddt-b2", "teacache", "its encoder and its decoder are two chains"),
    ],
)
def test_what_cannot_be_wrapped_is_refused(name: str, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        count(name, 4, text, cfg=1.0)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("first-block:threshold=1e-9", 4),
        ("interval:low=2e3,high=3e3", 4),
    ],
)
def test_what_took_no_effect_is_an_error(text: str, steps: int) -> None:
    found, network = network_for("fora")
    with pytest.raises(DimbenchError, match="did not take effect"):
        drawn(found, network, text, steps=steps)


@pytest.mark.parametrize(
    "text",
    ["fora:every=99", "taylor:every=99", "cfg-cache:every=99", "fast-attn:plan=fsss", "first-block:threshold=1e9"],
)
def test_what_computes_nothing_after_the_first_step_is_an_error(text: str) -> None:
    found, network = network_for("fora")
    with pytest.raises(DimbenchError, match=r"left out every (step|call) but the first of the 4 that"):
        drawn(found, network, text, steps=4)


def test_steps_of_a_solver_that_asks_several_times_are_fewer_than_its_calls() -> None:
    with pytest.raises(DimbenchError, match="every step but the first of the 3 that"):
        count("uvit-digits", 8, "fora")


def test_several_in_one_are_told_apart() -> None:
    assert methods.split("fora:every=2+tome") == ["fora:every=2", "tome"]
    assert methods.split("first-block:threshold=1e+3") == ["first-block:threshold=1e+3"]
    with pytest.raises(UsageError, match="give --with fora:every=2 --with tome"):
        methods.parse(["fora:every=2+tome"])


def test_guidance_methods_need_guidance() -> None:
    with pytest.raises(UsageError, match="unguided"):
        count("dit-digits", 4, "interval", cfg=1.0)


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("dit-digits", ["fora:every=3"]),
        ("sit-digits", ["taylor:every=3,order=2"]),  # two calls in each step
        ("udit-digits", ["deep", "cfg-cache:every=3"]),
        ("dit-digits", ["tome", "fora:every=2", "interval:low=200,high=800"]),
    ],
)
def test_calls_of_one_kind_cost_the_same(name: str, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def bill() -> dict[str, int]:
        found = backbone.find(name)
        return image_cost(found, settings_of(found, None, 13, 1.5, texts), decoded=False).bill.by_operator

    short = bill()
    monkeypatch.setattr(_Ledger, "once", lambda self, module: nullcontext())
    assert short == bill()


def share(name: str, steps: int, *texts: str) -> float:
    return count(name, steps, *texts) / count(name, steps)


def test_attention_in_a_window_costs_its_neighbours() -> None:
    """dit-s2: 256 tokens in stretches of 64 see 128, 192, 192 and 128 of them; the projections stay."""
    depth, width, tokens = 12, 384, 256
    core, projections = 2 * tokens**2 * width, 4 * tokens * width**2
    plain = count("dit-s2", 4, cfg=1.0)
    near = core * 640 / 1024
    assert count("dit-s2", 4, "fast-attn:plan=fw", cfg=1.0) - plain == 2 * depth * near + 2 * depth * (near - core)
    assert plain - count("dit-s2", 4, "fast-attn:plan=fs", cfg=1.0) == 2 * depth * (core + projections)
    guided = count("dit-s2", 4)
    assert guided - count("dit-s2", 4, "fast-attn:plan=fc") == 2 * depth * (core + projections)


@pytest.mark.parametrize(("name", "before"), [("mmdit-d12", 154), ("reg-b2", 1)])
def test_tokens_before_a_window_cost_those_of_all(name: str, before: int) -> None:
    """256 tokens in stretches of 64 see 128, 192, 192 and 128 of them and those of a text or a class."""
    depth, width, tokens = 12, 768, 256
    core = 2 * (tokens + before) ** 2 * width
    near = 2 * (before * (tokens + before) + tokens * before + 64 * 640) * width
    plain = count(name, 4, cfg=1.0)
    assert count(name, 4, "fast-attn:plan=fw", cfg=1.0) - plain == 2 * depth * near + 2 * depth * (near - core)


def test_attention_of_two_streams_is_that_of_the_last_step() -> None:
    depth, width, tokens, text = 12, 768, 256, 154
    projections = 4 * depth * (tokens + text) * width**2 - text * width**2  # the text ends in the last block
    saved = 2 * (depth * 2 * (tokens + text) ** 2 * width + projections)
    assert count("mmdit-d12", 4, cfg=1.0) - count("mmdit-d12", 4, "fast-attn:plan=fs", cfg=1.0) == saved


def test_tokens_before_a_window_see_all_and_are_seen_by_all() -> None:
    query, key, value = torch.randn(3, 1, 2, 5 + 12, 8, generator=torch.Generator().manual_seed(0)).unbind(0)
    stretch = torch.arange(-5, 12).div(4, rounding_mode="floor")
    seen = (stretch[:, None] - stretch).abs() <= 1
    seen[:5], seen[:, :5] = True, True
    attend = nn.functional.scaled_dot_product_attention
    torch.testing.assert_close(windowed(attend, 4, 5)(query, key, value), attend(query, key, value, attn_mask=seen))


def test_the_guided_half_of_two_streams_serves_for_both() -> None:
    found, network = nowhere_zero(backbone.find("mmdit-digits"))
    assert not torch.equal(drawn(found, network, "fast-attn:plan=fc"), drawn(found, network))
    plain, shared = count("mmdit-digits", 4), count("mmdit-digits", 4, "fast-attn:plan=fc")
    alone, again = count("mmdit-digits", 4, cfg=1.0), count("mmdit-digits", 4, "fast-attn:plan=fs", cfg=1.0)
    assert plain - shared == alone - again, "half of the rows of every other step"


def test_a_window_as_wide_as_the_image_changes_nothing_but_roundings() -> None:
    found, network = network_for("fora")
    wide, plain = torch.randn(1, 1, 16, 8), nn.functional.scaled_dot_product_attention
    assert torch.allclose(windowed(plain, 8)(wide, wide, wide), plain(wide, wide, wide), atol=1e-5)
    with pytest.raises(DimbenchError, match="every attention was whole"):
        drawn(found, network, "fast-attn:plan=fw,window=8")  # each of two stretches sees the other
    narrow = drawn(found, network, "fast-attn:plan=fw,window=4")
    assert not torch.allclose(narrow, drawn(found, network), atol=1e-2, rtol=1e-2)


def test_the_guided_half_is_that_of_guided_calls_alone() -> None:
    """Where the interval leaves guidance out, the halves of a call are of two images."""
    found, network = network_for("fora")
    texts = ["fast-attn:plan=fc", "interval:low=300,high=700"]
    both = drawn(found, network, *texts)
    run = Run(found, network, find_process(found.diffusion), settings_of(found, None, 7, 1.5, texts))
    with torch.inference_mode():
        assert torch.allclose(both, torch.cat([run(SampleNoise(3, [row])) for row in range(2)]), atol=1e-3, rtol=1e-3)
    with pytest.raises(UsageError, match="is of guidance, and the run is unguided"):
        count("dit-digits", 4, "fast-attn:plan=fc", cfg=1.0)


def test_a_window_holds_the_networks_own_attention_alone() -> None:
    with pytest.raises(UsageError, match=r"fast-attn cannot wrap SanaTransformer2DModel: .* calls no scaled_dot"):
        drawn(*nowhere_zero(of_diffusers("SanaTransformer2DModel")), "fast-attn:plan=fw,window=4")


@pytest.mark.parametrize(
    ("name", "settings", "text", "words"),
    [
        ("dim-digits", {}, "fast-attn:plan=fs", "called like self-attention"),
        ("dim-digits", {}, "tome", "scan the tokens in an order"),
        ("zigma-s2", {"embed_dim": 32, "depth": 2}, "tome", "scan the tokens in an order"),
        ("dydit-s2", {"hidden_size": 64, "depth": 2, "num_heads": 4}, "fora", "other tokens from step to step"),
    ],
)
def test_what_is_no_attention_of_all_tokens_is_refused(name: str, settings: Any, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        drawn(*nowhere_zero(backbone.find(name, None if "digits" in name else 32, settings)), text)


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("ditmoe-s2-8e2a", {"hidden_size": 48, "depth": 2, "num_heads": 2}, "fake-w4a8:calibrate=1"),
        ("ldm-4", {"model_channels": 32, "channel_mult": [1, 2], "num_res_blocks": 1, "attention_resolutions": [2],
                   "context_dim": 16}, "fast-attn:plan=fc"),
    ],
)  # fmt: skip
def test_experts_without_tokens_and_attention_that_is_told_more_are_wrapped(
    name: str, settings: Any, text: str
) -> None:
    found, network = nowhere_zero(backbone.find(name, 32, settings))
    assert drawn(found, network, text, steps=4).isfinite().all()


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        return nn.functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])[:, 0]


class Block(nn.Module):
    """In place, or told by name, or not, as `how` says."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.attn, self.mlp = how, Branch(), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.attn(x)
        y = y.add_(x) if self.how == "output in place" else x + y
        if self.how == "twice":
            y = y + self.attn(y)
        z = self.mlp(input=y)
        return x.add_(z) if self.how == "input in place" else y + z


class Chain(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.blocks = how, nn.ModuleList(Block(how) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = x + 1
        for place, block in enumerate(reversed(self.blocks) if self.how == "backwards" else self.blocks):
            x = torch.cat([x, x], dim=1) if self.how == "more tokens" and place == 1 else x
            x = block(x=x) if self.how == "by name" else block(x)
        return x[:, :4]


@pytest.mark.parametrize("name", ["dit-digits", "mmdit-digits"])
@pytest.mark.parametrize("text", ["first-block:threshold=0.01", "teacache:threshold=0.01"])
def test_blocks_that_are_left_out_add_what_they_added(name: str, text: str) -> None:
    found, network = nowhere_zero(backbone.find(name))
    last, ran = chain(methods.parse([text])[0], network)[-1], []
    last.register_forward_hook(lambda *_: ran.append(1))
    near, far = (torch.full((2, *found.state), value) for value in (1.0, -5.0))
    inner = next(module for part, module in last.named_modules() if part.endswith("mlp"))
    inner.register_forward_hook(lambda *_: ran.append(2))
    (method,) = methods.parse([text])
    with torch.inference_mode(), method.applied(network):
        first, again, other = (
            found.call(network, x, torch.full((2,), 0.5), found.given(range(2), "cpu")) for x in (near, near, far)
        )
    torch.testing.assert_close(again, first)
    assert not torch.allclose(other, first)
    assert ran.count(2) < ran.count(1)


def test_a_block_between_two_lists_is_wrapped_as_theirs() -> None:
    network = backbone.find("uvit-digits,depth=6").build()
    blocks = 6 + 1
    assert len(reuse.branches(methods.Fora(), network)) == 2 * blocks
    assert len(reuse.attentions(methods.FastAttention(), network)) == blocks
    assert len(reuse.linears(methods.FakeW4A8(), network)) == 4 * blocks + blocks // 2  # and those of the long skips
    network = backbone.find("ldm-4,model_channels=32,context_dim=16").build()
    within = {module for module in network.middle_block.modules() if isinstance(module, nn.Linear)}
    assert within < set(reuse.linears(methods.FakeW4A8(), network))


def test_a_part_of_a_branch_is_no_branch() -> None:
    network = of_diffusers("UNet2DConditionModel").build()
    found = reuse.branches(methods.Tome(), network)
    assert not [part for part in found for other in found if part is not other and part in other.modules()]


@pytest.mark.parametrize("found", [of_diffusers("UNet2DConditionModel"), of_diffusers("PixArtTransformer2DModel")])
def test_attention_to_a_text_is_merged_as_to_the_tokens(found: FromDiffusers) -> None:
    plain, merged = (
        image_cost(found, settings_of(found, None, 9, 1.0, texts), decoded=False).bill.by_operator["linear"]
        for texts in ((), ("tome",))
    )
    assert merged < 0.9 * plain


@pytest.mark.parametrize(
    ("text", "words"),
    [("greedy,window=4", "joins others to the tokens"), ("fw,window=4", "joins others"), ("fc", "by name")],
)
def test_attention_of_two_streams_in_an_order_of_its_own_has_no_window_and_no_halves(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        drawn(*nowhere_zero(of_diffusers("SD3Transformer2DModel")), f"fast-attn:plan={text}")


def called(network: nn.Module, text: str) -> list[Tensor]:
    """What it makes of one input in three steps."""
    x, (method,) = torch.randn(2, 4, 8), methods.parse([text])
    with torch.inference_mode(), method.applied(network) as step:
        return [(step(k), network(x))[1] for k in range(3)]  # type: ignore[func-returns-value]


PLACED = "changes in place"


@pytest.mark.parametrize(
    ("how", "text", "words"),
    [
        ("output in place", "fora:every=2", PLACED),
        ("output in place", "fast-attn:plan=fs", PLACED),
        ("input in place", "first-block", PLACED),
        ("input in place", "teacache", PLACED),
        ("twice", "fora:every=2", "one of its parts several times"),
        ("twice", "fast-attn:plan=fs", "one of its parts several times"),
        ("by name", "first-block", "told their tokens by name"),
        ("by name", "teacache", "told their tokens by name"),
        ("backwards", "first-block", "one after the other"),
        ("backwards", "teacache", "one after the other"),
        ("more tokens", "first-block", "as many tokens"),
        ("more tokens", "teacache", "as many tokens"),
        ("plain", "tome", "are no images"),
    ],
)
def test_networks_that_would_be_reused_wrongly_are_refused(how: str, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        called(Chain(how), text)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [("fora:every=2", "tome:ratio=0.25"), ("fast-attn:plan=fs", "tome"), ("fora:every=2", "fake-w4a8")],
)
def test_what_is_reused_is_what_the_other_method_made(outer: str, inner: str) -> None:
    """Tokens are merged anew in each step: what stands between them would come back at the places of others."""
    assert methods.parse([outer, inner]) == methods.parse([inner, outer])
    assert [method.place for method in methods.parse([outer, inner])][-1] == 2
    with pytest.raises(UsageError, match="within a window and exclude each other"):
        methods.parse(["fast-attn:plan=fw", "tome"])


@pytest.mark.parametrize("text", ["fora:every=1", "fast-attn:plan=f"])
def test_what_no_step_reuses_may_be_changed_in_place(text: str) -> None:
    """It is not kept, nor looked at, which would cost a step half a percent."""
    torch.manual_seed(0)
    network = Chain("output in place")
    torch.manual_seed(1)
    plainly = network(torch.randn(2, 4, 8))
    torch.manual_seed(1)
    assert all(torch.equal(output, plainly) for output in called(network, text))


def test_a_layer_that_is_told_its_input_by_name_is_rounded() -> None:
    assert called(Chain("plain"), "fake-w4a8")[0].isfinite().all()


def test_a_greedy_plan_takes_what_was_near_enough() -> None:
    found, network = network_for("fora")
    strict = "fast-attn:plan=greedy,threshold=1e-9,window=4"
    with pytest.raises(DimbenchError, match="every attention was whole"):
        drawn(found, network, strict)
    assert not torch.equal(drawn(found, network, "fast-attn:plan=greedy,threshold=5"), drawn(found, network))


@pytest.mark.parametrize("backend", ["efficient", "cudnn", "flex", "sage"])
def test_a_kernel_of_attention_that_cannot_run_is_refused(backend: str) -> None:
    found, network = network_for("fora")
    with pytest.raises(UsageError, match=r"attention cannot wrap DiT: .*(cpu|GPU|not installed)"):
        drawn(found, network, f"attention={backend}")


def test_attention_by_math_runs_no_other_kernel() -> None:
    found, network = network_for("fora")
    with torch.profiler.profile() as seen:
        drawn(found, network, "attention=math")
    names = {event.name for event in seen.events()}
    assert "aten::_scaled_dot_product_attention_math" in names
    assert not any("flash" in name for name in names)
    with torch.profiler.profile() as seen:
        drawn(found, network)
    assert any("flash" in event.name for event in seen.events())


def test_a_network_without_attention_has_no_kernel_of_it() -> None:
    found = backbone.find("dico-s")
    with pytest.raises(DimbenchError, match="calls no scaled_dot_product_attention"):
        image_cost(found, settings_of(found, None, 2, 1.0, ["attention=math"]), decoded=False)


def test_noise_levels_of_processes() -> None:
    diffusion = find_process(backbone.find("dit-digits").diffusion)
    assert sigma(diffusion, 999) == pytest.approx(157.4, rel=1e-3)  # linear betas, 1e-4 to 0.02
    assert sigma(diffusion, 0) == pytest.approx(0.01, rel=1e-3)
    flow = find_process(backbone.find("sit-digits").diffusion)
    assert sigma(flow, 0.75) == pytest.approx(1 / 3)
    names = {"stable-diffusion": 1000, "variance-preserving": 999, "rectified-flow": 1, "mean-flow": 1}
    first = {name: sigma(find_process(completed({"process": name})), most) for name, most in names.items()}
    assert first["stable-diffusion"] == pytest.approx(14.61, rel=1e-3)  # as its pipelines begin
    assert first["variance-preserving"] == pytest.approx(152.2, rel=1e-3)  # sqrt(exp(10.05) - 1)
    assert first["rectified-flow"] == first["mean-flow"] == math.inf
    assert sigma(Flow(time_scale=1000, noise_scale=2), 750) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["dim-digits", "jit-digits", "mmdit-digits"])
def test_guidance_by_noise_levels_is_for_every_process(name: str) -> None:
    found = backbone.find(name)
    cost = image_cost(found, settings_of(found, None, 8, 1.5, ["guidance:low=0.5,high=3"]), decoded=False)
    assert cost.calls < cost.passes < 2 * cost.calls


def test_guidance_between_two_noise_levels_is_that_between_their_times() -> None:
    found, network = network_for("interval")
    by_time = drawn(found, network, "interval:low=200,high=700")
    process = find_process(found.diffusion)
    low, high = sigma(process, 200), sigma(process, 700)
    assert torch.equal(drawn(found, network, f"guidance:low={low},high={high}"), by_time)


def test_guidance_settings_take_the_place_of_the_runs_own() -> None:
    found, network = network_for("interval")
    how = settings_of(found, None, 7, 3.0)
    with torch.inference_mode():
        noise, process = SampleNoise(3, range(2)), find_process(found.diffusion)
        expected = Run(found, network, process, how)(noise)
    assert torch.equal(drawn(found, network, "guidance:scale=3"), expected)
    assert share("dit-digits", 7, "guidance:scale=1") == 0.5
    with pytest.raises(UsageError, match="channels=9 are more than the 4 of its samples"):
        count("dit-s2", 7, "guidance:channels=9")
    assert not torch.equal(drawn(found, network, "guidance:power=2"), drawn(found, network))


@pytest.mark.parametrize(
    "text", ["guidance:scale=0.5", "guidance:low=3,high=2", "guidance:power=inf", "fast-attn:plan=swf", "attention=foo"]
)
def test_settings_of_guidance_and_attention_are_checked(text: str) -> None:
    with pytest.raises(UsageError, match=r"give|known are"):
        methods.parse([text])


@pytest.mark.skipif(find_spec("torchao") is not None, reason="torchao is there")
def test_without_torchao_its_methods_are_refused() -> None:
    found, network = network_for("fora")
    with pytest.raises(UsageError, match="torchao is not installed"):
        drawn(found, network, "int8")
    with pytest.raises(UsageError, match=r"dimbench\[quant\]"):
        count("dit-s2", 3, "int8")


def test_what_torch_tells_the_authors_of_torchao_is_not_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchao").mkdir()
    (tmp_path / "torchao" / "__init__.py").write_text("")
    (tmp_path / "torchao" / "quantization.py").write_text(
        "import logging\nlog = logging.getLogger('torch.utils._pytree')\n"
        "log.warning('Calling register_constant() on Enum subclasses is deprecated')\nlog.warning('another')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "torchao"]:
        monkeypatch.delitem(sys.modules, name)
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("torch.utils._pytree")
    log.addHandler(handler)
    try:
        quantisation._torchao()
    finally:
        log.removeHandler(handler)
        for name in ("torchao", "torchao.quantization"):
            monkeypatch.delitem(sys.modules, name)
    assert said == ["another"]


@pytest.mark.parametrize(("given", "option"), [((True, False), "--compile"), ((False, True), "--cuda-graph")])
def test_a_network_that_is_not_run_as_it_is_written_has_no_methods(given: tuple[bool, bool], option: str) -> None:
    with pytest.raises(UsageError, match=f"{option} does not follow what --with int8 does"):
        check_uncompiled(["int8", "fora"], *given)
    check_uncompiled([], *given)


def test_products_of_int8_stand_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Int8, "absent", classmethod(lambda kind: ""))
    found = backbone.find("dit-s2")
    cost = image_cost(found, settings_of(found, None, 3, 1.0, ["int8"]), decoded=False)
    depth, width, tokens = 12, 384, 256
    assert cost.by_numbers["int8"] == 3 * depth * (12 * tokens * width**2 + 6 * width**2)  # with the modulation
    assert cost.by_numbers[""] + cost.by_numbers["int8"] == cost.macs("macs")


def test_autoguidance_asks_a_worse_network_the_same() -> None:
    found = backbone.find("dit-digits")
    network = backbone.created(found)
    checkpoints.fill(network, catalog.path_of(found.preset.checkpoints[0]))
    itself = drawn(found, network, "autoguidance:guide=dit-digits")
    how, process = settings_of(found, None, 7, 1.0), find_process(found.diffusion)
    with torch.inference_mode():
        plain = Run(found, network, process, how)(SampleNoise(3, range(2)))
    assert torch.allclose(itself, plain, atol=1e-4), "nothing moves it away from itself"
    other = drawn(found, network, "autoguidance:guide=udit-digits")
    assert not torch.allclose(other, plain, atol=1e-2)
    alone, guide = count("dit-digits", 7, cfg=1.0), count("udit-digits", 7, cfg=1.0)
    assert count("dit-digits", 7, "autoguidance:guide=udit-digits") == alone + guide


def test_a_guide_has_settings_of_its_own() -> None:
    text = "autoguidance:guide=dit-digits,depth=2,mlp_ratio=2.0,weights=w.pt"
    (method,) = methods.parse([text])
    assert (method.guide, method.weights) == ("dit-digits,depth=2,mlp_ratio=2.0", "w.pt")  # type: ignore[attr-defined]
    assert str(method) == text
    alone, guide = count("dit-digits", 7, cfg=1.0), count("dit-digits,depth=2", 7, cfg=1.0)
    assert count("dit-digits", 7, "autoguidance:guide=dit-digits,depth=2") == alone + guide
    with pytest.raises(UsageError, match="fora has no setting 'depth'"):
        methods.parse(["fora:every=2,depth=2"])


def test_a_network_of_ones_own_guides(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\nclass Net(nn.Module):\n"
        "    def __init__(self, side: int = 1):\n        super().__init__()\n"
        "        self.label, self.last = nn.Embedding(1001, 4), nn.Conv2d(4, 4, side, padding=side // 2)\n"
        "    def forward(self, x, t, y):\n        return self.last(x + self.label(y)[:, :, None, None])\n"
    )
    guide = f"autoguidance:guide={tmp_path / 'net.py'}:Net,side=3"
    steps, pixels = 4, 32**2
    assert count("dit-s2", steps, guide) - count("dit-s2", steps, cfg=1.0) == steps * 4 * 4 * 3**2 * pixels


@pytest.mark.parametrize(
    ("given", "name", "weights"),
    [
        ("dit-digits", "dit-digits", ""),
        ("DiT-XL/2:w.pt", "DiT-XL/2", "w.pt"),
        ("dit-digits,mlp_ratio=2.0:hf:owner/name", "dit-digits,mlp_ratio=2.0", "hf:owner/name"),
        ("net.py:Net", "net.py:Net", ""),
        ("net.py:Net,width=8:folder/w.pt", "net.py:Net,width=8", "folder/w.pt"),
    ],
)
def test_a_guide_is_named_with_its_weights(given: str, name: str, weights: str) -> None:
    assert options.methods(None, given) == (f"autoguidance:guide={name}" + (f",weights={weights}" if weights else ""),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("autoguidance", "names no guide"),
        ("autoguidance:guide=dit-digits", "give a guide of the same samples"),
        ("autoguidance:guide=sit-s2", "trained on another process"),
    ],
)
def test_a_guide_has_to_draw_the_same(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        count("dit-s2", 3, text)


def test_layers_that_are_told_more_than_their_input_are_left_as_they_are() -> None:
    found = backbone.find("dim-digits")
    network = found.running(backbone.created(found))
    assert drawn(found, network, "fake-w8a8", steps=3).isfinite().all()


def test_hooks_of_diffusers_leave_nothing_in_the_network() -> None:
    found, network = network_for("diffusers-faster")
    before = {name: set(vars(part)) for name, part in network.named_modules()}
    for name in ("diffusers-faster", "diffusers-taylor:every=3"):
        drawn(found, network, name)
    assert before == {name: set(vars(part)) for name, part in network.named_modules()}


def test_attention_that_a_hook_broadcasts_is_counted_as_it_runs() -> None:
    found = of_diffusers("FluxTransformer2DModel")
    plain, half = (
        image_cost(found, settings_of(found, None, 10, 1.0, texts), decoded=False).bill.by_operator["attention"]
        for texts in ((), ("diffusers-pab:every=2",))
    )
    assert half == plain / 2


@pytest.mark.parametrize(
    ("found", "text", "words"),
    [
        (backbone.find("dit-digits"), "diffusers-pab", "it is no network of diffusers"),
        (of_diffusers("DiTTransformer2DModel", "gaussian"), "diffusers-taylor", "knows none of its parts"),
        (of_diffusers("SanaTransformer2DModel"), "diffusers-first-block", "not registered"),
        (of_diffusers("SD3Transformer2DModel"), "tome", "Attention is not given tokens"),
        (of_diffusers("SD3Transformer2DModel"), "diffusers-first-block:threshold=0.9", "fails within its hook"),
        (of_diffusers("FluxTransformer2DModel"), "diffusers-mag:ratios=1/1", "2 ratios are for as many calls"),
        (of_diffusers("FluxTransformer2DModel"), "diffusers-first-block:threshold=1e-9", "computed in every call"),
        (of_diffusers("FluxTransformer2DModel"), "diffusers-pab:every=99", "every call but the first"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hook_of_diffusers_that_does_nothing_is_refused(found: Backbone, text: str, words: str) -> None:
    with pytest.raises(DimbenchError, match=words):
        drawn(*nowhere_zero(found), text, steps=7)


def test_a_hook_of_diffusers_is_not_mixed_up_by_calls_of_several_shapes() -> None:
    found, network = network_for("diffusers-pab")
    with pytest.raises(DimbenchError, match="needs calls of one shape"):
        drawn(found, network, "diffusers-pab", "cfg-cache", steps=7)


@pytest.mark.parametrize("name", ["DiTTransformer2DModel", "SD3Transformer2DModel", "CogVideoXTransformer3DModel"])
def test_the_unguided_half_is_rebuilt_by_its_hook(name: str) -> None:
    """Of seven calls, three with both halves. By factors of 1 the rebuilt one is that of the kept difference."""
    process = "rectified-flow" if name.startswith("SD3") else "gaussian"
    found, network = nowhere_zero(of_diffusers(name, process))
    text = "diffusers-faster:every=1,unguided=3"
    run = Run(found, network, find_process(found.diffusion), settings_of(found, None, 7, 1.5, [text]))
    with torch.inference_mode():
        samples = run(SampleNoise(3, range(2)))
    assert (run.calls, run.passes) == (7, 3 * 2 + 4)
    plain, kept, rebuilt = (drawn(found, network, *t) for t in ((), ("cfg-cache:every=3",), (f"{text},low=1,high=1",)))
    off = (rebuilt - kept).norm() / kept.norm()
    assert off < 0.05 * (rebuilt - plain).norm() / kept.norm()
    assert not torch.equal(samples, rebuilt)
    assert 14 * count_of(found, text) == 10 * count_of(found)
    assert count_of(found, text.replace("every=1", "every=2")) < count_of(found, text)


def count_of(found: Backbone, *texts: str) -> int:
    return image_cost(found, settings_of(found, None, 7, 1.5, texts), decoded=False).macs("macs")


@pytest.mark.parametrize(
    ("found", "text", "others", "words"),
    [
        (of_diffusers("FluxTransformer2DModel"), "unguided=2", (), "no maps"),
        (of_diffusers("PixArtTransformer2DModel", "gaussian"), "unguided=2", (), "as a dict or a list"),
        (
            of_diffusers("DiTTransformer2DModel", "gaussian"),
            "unguided=2",
            ("interval:low=300,high=700",),
            "no unguided",
        ),
        (of_diffusers("DiTTransformer2DModel", "gaussian"), "unguided=9", (), "every call but the first"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unguided_half_that_its_hook_cannot_rebuild_is_refused(
    found: Backbone, text: str, others: tuple[str, ...], words: str
) -> None:
    with pytest.raises(DimbenchError, match=words):
        drawn(*nowhere_zero(found), f"diffusers-faster:every=1,{text}", *others)


def test_ratios_are_numbers() -> None:
    for text in ("diffusers-mag", "diffusers-mag:ratios=1/x"):
        with pytest.raises(UsageError, match="give one for each call of the network"):
            methods.parse([text])
