"""What every registered model must do, small enough to run: one block of each, at its smallest size."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import product

import pytest
import torch

import dimbench
from dimbench import presets
from dimbench.counting.parameters import count
from dimbench.errors import UsageError
from dimbench.meta import shapes_only
from dimbench.papers import figures
from dimbench.presets import Claim, Preset
from tests import example

ALL = [preset for preset in presets.all_presets().values() if preset.is_native]
LARGE, MIDDLING = 1e8, 4e7  # parameters


def _takes_long(preset: Preset) -> bool:
    """A large one, and a middling one whose family has a smaller."""
    least = min(other.counted["params"] for other in ALL if other.family == preset.family)
    size = preset.counted["params"]
    return size > LARGE or size > max(MIDDLING, least)


SMALL = [
    pytest.param(preset, id=preset.name, marks=pytest.mark.slow if _takes_long(preset) else ())
    for preset in ALL
    if preset.counted["params"] < 2e8
]


@pytest.mark.parametrize("preset", ALL, ids=lambda preset: preset.name)
def test_counts_in_the_preset_are_those_of_the_network(preset: Preset) -> None:
    from dimbench.counting.bill import trace
    from dimbench.counting.rules import RULES

    with shapes_only():
        model = example.built(preset)
        running = example.of(preset).running(model)
    assert count(model)["params"] == preset.counted["params"]
    bill = trace(running, example.inputs(running, 1, "meta"), 1)
    assert RULES["macs"].macs(bill) == preset.counted["macs"]


@pytest.mark.parametrize("preset", ALL, ids=lambda preset: preset.name)
def test_claims_agree_as_printed(preset: Preset) -> None:
    from dimbench.counting.bill import trace
    from dimbench.counting.rules import RULES

    whole = "860M"  # of DiM-H, as others print it: a round number
    for claim in preset.claims:
        with shapes_only():
            model = example.of(preset).running(example.built(preset, claim.resolution))
        if claim.params:
            ours = count(model)["params"] + (count(model)["params_fixed"] if claim.params_rule == "all" else 0)
            printed = figures.read(claim.params)
            assert printed is not None
            assert abs(ours - printed.value) <= (5e6 if claim.params == whole else printed.place / 2), claim
        bill = trace(model, example.inputs(model, 1, "meta"), 1)
        ours = RULES[claim.rule].macs(bill) / 1e9
        assert abs(ours - float(claim.gflops)) <= _slack(claim), claim


def _slack(claim: Claim) -> float:
    """One unit of the last printed place, since papers round and cut off; calflops treats Haar and elementwise work in
    a way of its own, worth up to 0.02 %."""
    unit = 10.0 ** -len(claim.gflops.partition(".")[2])
    return max(unit, 2e-4 * float(claim.gflops)) if claim.rule == "calflops" else unit


@pytest.mark.parametrize("preset", SMALL)
def test_output_shape_and_values(preset: Preset) -> None:
    model = dimbench.create_model(preset.name)
    inputs = example.inputs(model, 2)
    with torch.no_grad():
        output = model(**inputs)
    assert not model.training
    assert output.shape[0] == 2
    assert output.shape[2:] == inputs["x"].shape[2:]
    assert output.shape[1] in (inputs["x"].shape[1], 2 * inputs["x"].shape[1])
    assert output.isfinite().all()


@pytest.mark.parametrize("preset", SMALL)
def test_every_live_parameter_learns(preset: Preset) -> None:
    model = dimbench.create_model(preset.name)
    with torch.no_grad():  # official starts are zero in many places, which stops gradients
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    model(**example.inputs(model, 1)).square().mean().backward()
    dead, optional = _marked(model, "dead_macs"), _marked(model, "optional")
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or name in optional:
            continue
        if name in dead:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def _marked(model: torch.nn.Module, mark: str) -> set[str]:
    """The parameters of the modules with this attribute; "optional" are those that not every input runs or teaches,
    which the tests of their families see to."""
    modules = [(path, module) for path, module in model.named_modules() if getattr(module, mark, 0)]
    return {f"{path}.{name}" for path, module in modules for name, _ in module.named_parameters()}


@pytest.mark.parametrize("name", ["dit-digits", "dimsum-digits"])
def test_seed_decides_the_first_weights(name: str) -> None:
    first, again, other = (dimbench.create_model(name, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_a_fresh_dit_is_the_identity_in_every_block_and_draws_zero() -> None:
    model = dimbench.create_model("dit-digits")
    x = torch.randn(2, 1, 8, 8)
    tokens, c = torch.randn(2, 16, 96), torch.randn(2, 96)
    with torch.no_grad():
        assert torch.equal(model.blocks[0](tokens, c), tokens)
        assert model(x, torch.tensor([1.0, 2.0]), torch.tensor([0, 1])).abs().max() == 0


FAMILIES = {preset.backbone: preset for preset in reversed(ALL)}


@pytest.mark.parametrize("preset", FAMILIES.values(), ids=FAMILIES)
def test_sizes_below_what_a_network_can_have_are_refused_by_name(preset: Preset) -> None:
    """Where 0 means that there is none of something, the network without it runs."""
    config = example.of(preset).config
    whole = [each.name for each in fields(config) if type(getattr(config, each.name)) is int]
    for name, size in product(set(whole) - {"input_size"}, (-1, 0)):
        if said := _refusal(preset, name, size):
            assert f"{name} " in said
            continue
        assert getattr(example.of(preset, **{name: size}).config, name) == 0
        with shapes_only():
            model = example.built(preset, **{name: size})
            model(**example.inputs(model, 1, "meta"))


@pytest.mark.parametrize("preset", FAMILIES.values(), ids=FAMILIES)
def test_values_of_another_type_are_refused_by_name(preset: Preset) -> None:
    config = example.of(preset).config
    for each in fields(config):
        wrong: list[object] = [{}, True if each.type == "int" else 1.5 if each.type != "float" else float("nan")]
        for value in wrong:
            with pytest.raises(UsageError, match=f"^{each.name} "):
                replace(config, **{each.name: value})


@pytest.mark.parametrize("preset", FAMILIES.values(), ids=FAMILIES)
def test_shares_that_are_dropped_lie_within_0_and_1(preset: Preset) -> None:
    config = example.of(preset).config
    for name in (each.name for each in fields(config) if "drop" in each.name):
        with pytest.raises(UsageError, match=f"^{name} 1.5 .* give 0 to 1"):
            replace(config, **{name: 1.5})


def _refusal(preset: Preset, name: str, size: int) -> str:
    try:
        _ = example.of(preset, **{name: size}).config
    except UsageError as error:
        return str(error)
    return ""
