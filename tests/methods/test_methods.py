"""All methods: off by their neutral setting they change no bit, what they leave out is what is counted, and what they
cannot wrap or what had no effect is refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from dimbench import backbone, methods
from dimbench.backbone import Backbone
from dimbench.diffusion.process import find_process
from dimbench.errors import DimbenchError, UsageError
from dimbench.methods.fake_quantisation import rounded
from dimbench.methods.guiding import Guided
from dimbench.methods.reuse import Reused
from dimbench.methods.tome import matching
from dimbench.sampling.image_cost import image_cost, settings_of
from dimbench.sampling.run import Run
from dimbench.sampling.sample_noise import SampleNoise

NEUTRAL = {
    "fora": "fora:every=1",
    "taylor": "taylor:every=1,order=2",
    "deep": "deep:every=1",
    "first-block": "first-block:threshold=0",
    "state": "state:every=1",
    "tome": "tome:ratio=0",
    "interval": "interval",
    "cfg-cache": "cfg-cache:every=1",
}


def network_for(method: str) -> tuple[Backbone, nn.Module]:
    """A small network with weights that are nowhere zero, of a kind that the method wraps."""
    small = "ddt-b2,input_size=4,hidden_size=32,num_groups=2,num_blocks=3,num_encoder_blocks=2"
    found = backbone.find({"deep": "udit-digits", "state": small}.get(method, "dit-digits"))
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


@pytest.mark.parametrize("name", [name for name in methods.METHODS if not name.startswith("fake")])
def test_a_neutral_setting_changes_no_bit(name: str) -> None:
    found, network = network_for(name)
    plain = drawn(found, network)
    assert torch.equal(drawn(found, network, NEUTRAL[name]), plain)
    assert drawn(found, network, _effective(name)).isfinite().all()
    assert torch.equal(drawn(found, network), plain), "something of the method is left in the network"


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_an_effect_is_seen_and_the_same_in_each_run(name: str) -> None:
    found, network = network_for(name)
    once = drawn(found, network, _effective(name))
    assert not torch.equal(once, drawn(found, network))
    assert torch.equal(drawn(found, network, _effective(name)), once)


def _effective(name: str) -> str:
    return {"interval": "interval:low=300,high=700", "first-block": "first-block:threshold=0.8"}.get(name, name)


def count(name: str, steps: int, *texts: str, cfg: float = 1.5) -> int:
    found = backbone.find(name)
    return image_cost(found, settings_of(found, None, steps, cfg, texts), decoded=False).macs("macs")


@pytest.mark.parametrize(("steps", "computed"), [(9, 3), (10, 4), (3, 1)])
@pytest.mark.parametrize("method", ["fora", "taylor"])
def test_fora_computes_the_branches_once_in_every_steps(method: str, steps: int, computed: int) -> None:
    found = backbone.find("dit-s2")
    width, tokens, depth = 384, 256, 12
    branches = depth * (12 * tokens * width**2 + 2 * tokens**2 * width)  # attention's 4 + mlp's 8, scores and values
    plain = count("dit-s2", steps)
    assert plain - count("dit-s2", steps, method) == 2 * (steps - computed) * branches
    assert found.name == "dit-s2"


def test_a_solver_that_asks_several_times_per_step_reuses_by_steps() -> None:
    plain = count("sit-digits", 7, cfg=1.0)  # Heun: six steps of two calls
    branches = 6 * (12 * 16 * 96**2 + 2 * 16**2 * 96)
    assert plain - count("sit-digits", 7, "fora", cfg=1.0) == 2 * 4 * branches


def test_deep_leaves_out_what_lies_within() -> None:
    plain, first, second = (count("udit-digits", 6, *w) for w in ([], ["deep"], ["deep:level=2"]))
    assert first < second < plain
    assert count("skipdit-s2", 6, "deep") < 0.5 * count("skipdit-s2", 6)
    assert count("uvit-s2", 6, "deep:level=3") < count("uvit-s2", 6)


def test_deep_reuses_what_the_inner_part_gave() -> None:
    found, network = network_for("deep")
    x, t, given = backbone.example(found, 2)
    (deep,) = methods.parse(["deep:every=2"])
    with torch.inference_mode(), deep.applied(network) as step:
        first = network(x, t, **given)
        step(1)
        assert torch.allclose(network(x, t, **given), first, atol=1e-6), "the same question has the same answer"
        other = network(x + 1, t, **given)
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


def test_cfg_cache_adds_the_difference_that_it_kept() -> None:
    told = lambda x, t: x + 2  # noqa: E731
    parts = Guided(lambda x, t: (x + 2, x), told, lambda x, t, told, untold: untold + 3 * (told - untold), (1.0, 0.5))
    (method,) = methods.parse(["cfg-cache"])
    x, t = torch.ones(2, 1), torch.ones(2)
    with method.guiding(parts) as (tell, call):
        first = call(x, t)
        tell(1)
        assert torch.equal(call(x + 1, t), first + 1)


def test_a_series_is_exact_for_its_own_polynomials() -> None:
    """Values on a line are continued exactly by order 1, those on a parabola not by order 0."""
    now = [0.0]
    reused = Reused(lambda x: x + now[0], every=2, order=1)
    x = torch.zeros(3)
    got = []
    for step in range(8):
        now[0], reused.step = float(step), step
        got.append(reused(x)[0].item())
    assert got == [0, 0, 2, 3, 4, 5, 6, 7]
    assert reused.left_out == 4


def test_merged_tokens_come_back_at_their_places() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 16, 8, generator=generator)
    x[:, 5] = x[:, 2]  # the token at row 1, column 1 is like that at row 0, column 2, which is kept
    merge, unmerge = matching(x, 1, UsageError)
    merged = merge(x)
    assert merged.shape == (2, 15, 8)
    assert torch.allclose(unmerge(merged), x), "two equal tokens are merged without loss"
    merge, unmerge = matching(x, 12, UsageError)
    assert merge(x).shape == (2, 4, 8)
    assert unmerge(merge(x)).shape == x.shape


def test_rounding_keeps_the_grid() -> None:
    x = torch.tensor([[-1.0, 0.5, 0.26, 0.0]])
    assert torch.allclose(rounded(x, 2), torch.tensor([[-1.0, 0.0, 0.0, 0.0]]))  # half rounds to even
    assert (rounded(x, 8) - x).abs().max() <= 0.5 / 127 + 1e-7
    assert torch.equal(rounded(torch.zeros(1, 3), 8), torch.zeros(1, 3))


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
    ],
)
def test_what_is_not_understood_is_said(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        methods.parse([text])


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
        ("dimsum-digits", "first-block", "more than tokens"),
        ("dimsum-digits", "tome", "more of each token"),
        ("mmdit-d12", "fora", "none of its blocks"),
        ("dit-digits", "state", "no encoder whose state"),
    ],
)
def test_what_cannot_be_wrapped_is_refused(name: str, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        count(name, 4, text)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("first-block:threshold=1e-9", 4),
        ("first-block:threshold=1e9", 4),
        ("interval:low=2e3,high=3e3", 4),
    ],
)
def test_what_took_no_effect_is_an_error(text: str, steps: int) -> None:
    found, network = network_for("fora")
    with pytest.raises(DimbenchError, match="did not take effect"):
        drawn(found, network, text, steps=steps)


def test_guidance_methods_need_guidance() -> None:
    with pytest.raises(UsageError, match="unguided"):
        count("dit-digits", 4, "interval", cfg=1.0)
