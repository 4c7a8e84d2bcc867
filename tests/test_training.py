from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import dimbench
from dimbench import presets
from dimbench.data import digits
from dimbench.diffusion.process import find_process
from dimbench.errors import DimbenchError, UsageError
from dimbench.kernels import backends
from dimbench.training import DivergedError, Training, TrainingRecipe

SMALL = {"hidden_size": 32, "depth": 1, "num_heads": 2}
RECIPE = TrainingRecipe(steps=12, batch=8)
NAMES = ["dit-digits", "sit-digits", "dimsum-digits"]


def start(name: str, recipe: TrainingRecipe = RECIPE) -> Training:
    model = dimbench.create_model(name, seed=recipe.seed, **SMALL)
    return Training(model, find_process(presets.find(name).diffusion), recipe)


def advance(training: Training, steps: int) -> list[float]:
    images, labels = digits.load("train")
    return [training.advance(images, labels) for _ in range(steps)]


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_is_the_same_to_the_bit(name: str, tmp_path: Path) -> None:
    whole = start(name)
    losses = advance(whole, 6)
    first = start(name)
    begun = advance(first, 3)
    first.save(tmp_path / "run.ckpt")
    torch.manual_seed(99)  # another process has another random state
    second = start(name)
    second.resume(tmp_path / "run.ckpt")
    assert begun + advance(second, 3) == losses
    assert second.step == 6
    for name_, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name_]), name_
        assert torch.equal(whole.average[name_], second.average[name_]), name_


def test_a_run_goes_on_with_the_kernels_it_began_with(tmp_path: Path) -> None:
    first = start("dimsum-digits")
    advance(first, 1)
    first.save(tmp_path / "run.ckpt")
    second = start("dimsum-digits")
    second.resume(tmp_path / "run.ckpt")
    before = {name: tensor.clone() for name, tensor in second.model.state_dict().items()}
    with (
        backends.use("reference"),
        pytest.raises(
            UsageError, match=r"done so far ran on .*selective_scan=cpu.* on .*=reference; give the --kernel"
        ),
    ):
        advance(second, 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in second.model.state_dict().items())
    advance(second, 1)
    second.kernels = {"haar": "cpu"}  # as a damaged checkpoint may say
    with pytest.raises(UsageError, match=r"ran on haar=cpu, the next would on .*selective_scan=cpu"):
        advance(second, 1)


def test_seeds_decide_the_run() -> None:
    assert advance(start("dit-digits"), 3) == advance(start("dit-digits"), 3)
    assert advance(start("dit-digits"), 3) != advance(start("dit-digits", TrainingRecipe(steps=12, batch=8, seed=1)), 3)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_falls(name: str) -> None:
    losses = advance(start(name, TrainingRecipe(steps=150, batch=32, lr=3e-3, warmup=10)), 150)
    # the scatter of a mean over 20 batches of 32 is about 2 %
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20])


def test_the_rate_rises_then_falls_to_zero() -> None:
    recipe = TrainingRecipe(steps=1000, warmup=100, lr=1e-3)
    assert recipe.lr_at(0) == pytest.approx(1e-5)
    assert recipe.lr_at(99) == recipe.lr_at(100) == 1e-3
    assert recipe.lr_at(550) == pytest.approx(5e-4)
    assert recipe.lr_at(1000) == pytest.approx(0, abs=1e-18)


def test_the_average_lags_behind_the_weights() -> None:
    training = start("dit-digits", TrainingRecipe(steps=12, batch=8, ema=0.5))
    name = "final_layer.linear.weight"
    before = training.average[name].clone()
    advance(training, 1)
    share = min(0.5, 2 / 11)
    expected = share * before + (1 - share) * training.model.state_dict()[name]
    assert torch.allclose(training.average[name], expected, atol=1e-8)


def test_export_holds_the_average(tmp_path: Path) -> None:
    training = start("dit-digits")
    advance(training, 2)
    training.export(tmp_path / "out.safetensors", {"model": "dit-digits"})
    assert all(torch.equal(t, training.average[name]) for name, t in load_file(tmp_path / "out.safetensors").items())
    dimbench.load_checkpoint(dimbench.create_model("dit-digits", **SMALL), tmp_path / "out.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["out.safetensors"]


def test_export_in_half_precision_is_read_back(tmp_path: Path) -> None:
    training = start("dit-digits")
    training.export(tmp_path / "out.safetensors", {}, half=True)
    model = dimbench.create_model("dit-digits", **SMALL)
    dimbench.load_checkpoint(model, tmp_path / "out.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, training.average[name].half().to(tensor.dtype)), name


def test_what_cannot_be_resumed_is_named(tmp_path: Path) -> None:
    training = start("dit-digits")
    training.save(tmp_path / "run.ckpt")
    with pytest.raises(DimbenchError, match="another lr"):
        start("dit-digits", TrainingRecipe(steps=12, batch=8, lr=1.0)).resume(tmp_path / "run.ckpt")
    with pytest.raises(DimbenchError, match="not a checkpoint this run can go on from"):
        start("dimsum-digits").resume(tmp_path / "run.ckpt")
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "run.ckpt").read_bytes()[:1000])
    with pytest.raises(DimbenchError, match="not a checkpoint this run can go on from"):
        start("dit-digits").resume(tmp_path / "cut.ckpt")


def test_a_loss_that_is_not_finite_changes_nothing(tmp_path: Path) -> None:
    training = start("dit-digits")
    advance(training, 2)
    training.save(tmp_path / "run.ckpt")
    with torch.no_grad():
        training.model.final_layer.linear.bias.fill_(float("nan"))
    before = {name: tensor.clone() for name, tensor in training.average.items()}
    with pytest.raises(DivergedError, match="loss is nan at step 3"):
        advance(training, 1)
    assert training.step == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in training.average.items())
    with pytest.raises(DivergedError, match="weights are not finite after step 2"):
        training.save(tmp_path / "run.ckpt")
    again = start("dit-digits")
    assert again.resume(tmp_path / "run.ckpt")
    assert again.step == 2


def test_a_gradient_that_is_not_finite_is_not_taken() -> None:
    training = start("dit-digits")
    bias = training.model.final_layer.linear.bias
    bias.register_hook(lambda gradient: gradient * float("inf"))
    before = bias.detach().clone()
    with pytest.raises(DivergedError, match="a gradient is not finite at step 1"):
        advance(training, 1)
    assert torch.equal(bias, before)


def test_a_run_that_diverged_begins_anew_at_a_lower_rate_alone(tmp_path: Path) -> None:
    file = tmp_path / "run.ckpt"
    training = start("dit-digits")
    advance(training, 2)
    training.save(file)
    lower, higher = (start("dit-digits", TrainingRecipe(steps=12, batch=8, lr=lr)) for lr in (1e-4, 1e-2))
    with pytest.raises(DimbenchError, match="another lr"):
        lower.resume(file)
    Training.mark_diverged(file)
    assert not lower.resume(file)
    assert lower.step == 0
    with pytest.raises(DimbenchError, match="another lr"):
        higher.resume(file)
    with pytest.raises(DimbenchError, match="another seed"):
        start("dit-digits", TrainingRecipe(steps=12, batch=8, seed=1)).resume(file)
    assert start("dit-digits").resume(file)


NAN = float("nan")
DAMAGE: dict[str, Any] = {
    "step": [None, "2", 2.0, -1, 13, True, 10**30, torch.tensor(2), [2]],
    "recipe": [None, [], "x", {}, {"lr": "x"}, 3],
    "kernels": [None, "cpu", {1: "cpu"}, {"selective_scan": 2}],
    "model": [None, [], {}, {"x": 1}, {"pos_embed": torch.ones(1)}, lambda m: {**m, "pos_embed": "x"}],
    "ema": [None, [], {}, lambda m: {**m, "pos_embed": m["pos_embed"] * NAN}, lambda m: {**m, "more": torch.ones(1)}],
    "opt": [
        None,
        [],
        {},
        {"state": 1},
        {"state": {}},
        {"state": {0: {}}},
        {"state": {"x": {}}},
        lambda opt: {**opt, "state": {**opt["state"], 999: opt["state"][0]}},
        lambda opt: {**opt, "state": {**opt["state"], 0: {**opt["state"][0], "exp_avg": torch.ones(1)}}},
        lambda opt: {
            **opt,
            "state": {**opt["state"], 0: {**opt["state"][0], "exp_avg_sq": -opt["state"][0]["exp_avg_sq"]}},
        },
        lambda opt: {**opt, "state": {**opt["state"], 0: {**opt["state"][0], "step": torch.tensor(-7.0)}}},
        lambda opt: {**opt, "state": {**opt["state"], 0: {**opt["state"][0], "step": 2}}},
    ],
}


@pytest.mark.parametrize(
    ("field", "place"), [(field, k) for field, values in DAMAGE.items() for k in range(len(values))]
)
def test_damaged_checkpoints_are_refused_in_a_sentence(tmp_path: Path, field: str, place: int) -> None:
    training = start("dit-digits")
    advance(training, 2)
    training.save(tmp_path / "run.ckpt")
    state = torch.load(tmp_path / "run.ckpt")
    value = DAMAGE[field][place]
    torch.save({**state, field: value(state[field]) if callable(value) else value}, tmp_path / "run.ckpt")
    fresh = start("dit-digits")
    before = {name: tensor.clone() for name, tensor in fresh.model.state_dict().items()}
    with pytest.raises(DimbenchError, match=r"run\.ckpt .*delete it to start over") as caught:
        fresh.resume(tmp_path / "run.ckpt")
    assert str(caught.value).isprintable()
    assert fresh.step == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in fresh.model.state_dict().items())


@pytest.mark.parametrize("field", ["step", "recipe", "kernels", "model", "ema", "opt"])
def test_checkpoints_without_a_field_are_refused(tmp_path: Path, field: str) -> None:
    start("dit-digits").save(tmp_path / "run.ckpt")
    state = torch.load(tmp_path / "run.ckpt")
    del state[field]
    torch.save(state, tmp_path / "run.ckpt")
    with pytest.raises(DimbenchError, match=rf"its '{field}' is a NoneType"):
        start("dit-digits").resume(tmp_path / "run.ckpt")


@pytest.mark.parametrize("field", ["model", "ema"])
def test_checkpoints_of_other_numbers_are_refused(tmp_path: Path, field: str) -> None:
    start("dit-digits").save(tmp_path / "run.ckpt")
    state = torch.load(tmp_path / "run.ckpt")
    state[field] = {name: tensor.double() for name, tensor in state[field].items()}
    torch.save(state, tmp_path / "run.ckpt")
    with pytest.raises(DimbenchError, match=rf"its {field}: .* is of torch.float64, not torch.float32"):
        start("dit-digits").resume(tmp_path / "run.ckpt")


@pytest.mark.parametrize("settings", [{"steps": 0}, {"batch": -1}, {"lr": 0.0}, {"ema": 1.0}])
def test_recipes_are_checked(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        TrainingRecipe(**settings)  # type: ignore[arg-type]


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DimbenchError, match="cannot write"):
        start("dit-digits").save(tmp_path / "file" / "run.ckpt")
