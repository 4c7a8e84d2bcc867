from __future__ import annotations

import pytest
import torch

from dimbench import presets
from dimbench.bench import subject
from dimbench.bench.rows import Row
from dimbench.diffusion.process import find_process

DIGITS = ("dit-digits", "sit-digits", "dimsum-digits")


@pytest.mark.parametrize("name", [*DIGITS, "dim-s2", "udit-t48"])
def test_the_cost_is_the_presets_count(name: str) -> None:
    preset = presets.find(name)
    cost = subject.cost(Row(name, preset.resolution), preset, batch=2)
    assert cost.macs == preset.counted["macs"]
    assert cost.macs_timed == cost.macs
    assert cost.weights >= 4 * cost.params  # fixed tables take memory, too
    assert 0 < cost.matmul_share <= 1


def test_steps_guidance_and_training_multiply_the_work() -> None:
    preset = presets.find("dit-digits")
    macs = preset.counted["macs"]
    run = subject.cost(Row("dit-digits", 8, mode="sample", steps=10, cfg=True), preset, batch=2)
    assert run.macs_timed == 20 * macs
    step = subject.cost(Row("dit-digits", 8, mode="train"), preset, batch=2)
    assert step.macs_timed == 3 * macs
    half = subject.cost(Row("dit-digits", 8, dtype="bf16"), preset, batch=2)
    assert step.weights == 4 * 2 * half.weights  # gradient and two averages beside the weights, all in float32


@pytest.mark.parametrize("name", [*presets.all_presets()])
def test_every_family_has_a_sampler_of_fixed_calls(name: str) -> None:
    preset = presets.find(name)
    process = find_process(preset.diffusion)
    sampler, steps = subject.fixed_sampler(process, preset.diffusion["sampler"], 7)
    process.check(sampler, steps)
    calls = 0

    def network(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        learns_variance = preset.diffusion["process"] == "gaussian"
        return torch.cat([x, x], 1) if learns_variance else x

    process.sample(network, torch.randn(2, 4, 2, 2), lambda _, shape: torch.randn(shape), sampler, steps)
    assert calls == 7


@pytest.mark.parametrize(("name", "dtype"), [("dit-digits", "bf16"), ("dimsum-digits", "fp32")])
def test_a_training_step_changes_the_weights(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    models = []
    create = subject.backbone.create_model
    monkeypatch.setattr(subject.backbone, "create_model", lambda *a, **k: models.append(create(*a, **k)) or models[-1])
    built = subject.build(Row(name, 8, mode="train", dtype=dtype), presets.find(name), 2)
    before = {key: tensor.clone() for key, tensor in models[0].state_dict().items()}
    assert built.call().isfinite()
    assert built.form == "as trained"
    changed = [key for key, tensor in models[0].state_dict().items() if not tensor.equal(before[key])]
    assert changed
    assert all(tensor.dtype == torch.float32 for tensor in models[0].state_dict().values())


@pytest.mark.parametrize("name", DIGITS)
def test_a_call_and_a_run_give_finite_images(name: str) -> None:
    preset = presets.find(name)
    call = subject.build(Row(name, 8, dtype="bf16"), preset, 2).call()
    assert call.dtype == torch.bfloat16
    assert call.shape[0] == 2
    run = subject.build(Row(name, 8, mode="sample", steps=3, cfg=True), preset, 2)
    images = run.call()
    assert images.shape == (2, 1, 8, 8)
    assert images.isfinite().all()


def test_branches_are_merged_for_inference_only() -> None:
    preset = presets.find("udit-t48")
    assert subject.build(Row("udit-t48", 128), preset, 1).form == "merged"
    assert subject.build(Row("udit-t48", 128, mode="train"), preset, 1).form == "as trained"
