from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dimbench import presets
from dimbench.bench import subject
from dimbench.bench.rows import Row
from dimbench.weights import catalog

DIGITS = ("dit-digits", "sit-digits", "dimsum-digits")


def cost(row: Row, batch: int) -> subject.Cost:
    return subject.cost(row, subject.found(row), batch)


def build(row: Row, batch: int) -> subject.Subject:
    return subject.build(row, subject.found(row), batch)


@pytest.mark.parametrize("name", [*DIGITS, "dim-s2", "udit-t48"])
def test_the_cost_is_the_presets_count(name: str) -> None:
    preset = presets.find(name)
    found = cost(Row(name, preset.resolution), batch=2)
    assert found.macs == preset.counted["macs"]
    assert found.macs_timed == found.macs
    assert found.weights >= 4 * found.params  # fixed tables take memory, too
    assert 0 < found.matmul_share <= 1


def test_steps_guidance_and_training_multiply_the_work() -> None:
    macs = presets.find("dit-digits").counted["macs"]
    run = cost(Row("dit-digits", 8, mode="sample", steps=10, cfg=True), batch=2)
    assert run.macs_timed == 20 * macs
    step = cost(Row("dit-digits", 8, mode="train"), batch=2)
    assert step.macs_timed == 3 * macs
    along_a_path = cost(Row("meanflow-b4,depth=2", 256, mode="train"), batch=2)
    assert along_a_path.macs_timed == 5 * along_a_path.macs
    half = cost(Row("dit-digits", 8, dtype="bf16"), batch=2)
    assert step.weights == 4 * 2 * half.weights  # gradient and two averages beside the weights, all in float32


def test_what_values_decide_is_counted_on_the_run_that_is_timed() -> None:
    weights = catalog.path_of(presets.find("dit-digits").checkpoints[0])
    row = Row("dit-digits", 8, mode="sample", steps=8, weights=str(weights), methods=("first-block:threshold=0.8",))
    plain, executed = cost(row, batch=2).macs_timed, build(row, 2).executed
    assert executed is not None
    assert 0.1 * plain < executed().macs("macs") < 0.95 * plain
    assert build(replace(row, methods=("fora",)), 2).executed is None


def test_a_run_is_timed_with_the_sampler_that_draws() -> None:
    """Heun's 5 points are 4 steps of two calls."""
    macs = presets.find("sit-digits").counted["macs"]
    assert cost(Row("sit-digits", 8, mode="sample", steps=5), batch=1).macs_timed == 8 * macs
    assert cost(Row("sit-digits", 8, mode="sample", steps=5, sampler="euler"), batch=1).macs_timed == 4 * macs
    assert build(Row("sit-digits", 8, mode="sample", steps=5), 1).sampler == "heun2"


def test_weights_are_read_once_in_a_guided_call() -> None:
    plain = cost(Row("dit-digits", 8, mode="sample", steps=10), batch=1)
    guided = cost(Row("dit-digits", 8, mode="sample", steps=10, cfg=True), batch=1)
    assert guided.traffic - plain.traffic == 10 * 2 * 4 * 64  # one more row of x in and out, in each of ten calls


@pytest.mark.parametrize(("name", "dtype"), [("dit-digits", "bf16"), ("dimsum-digits", "fp32")])
def test_a_training_step_changes_the_weights(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    models = []
    create = subject.backbone.created
    monkeypatch.setattr(subject.backbone, "created", lambda *a, **k: models.append(create(*a, **k)) or models[-1])
    built = build(Row(name, 8, mode="train", dtype=dtype), 2)
    before = {key: tensor.clone() for key, tensor in models[0].state_dict().items()}
    assert built.call().isfinite()
    assert built.form == "as trained"
    changed = [key for key, tensor in models[0].state_dict().items() if not tensor.equal(before[key])]
    assert changed
    assert all(tensor.dtype == torch.float32 for tensor in models[0].state_dict().values())


@pytest.mark.parametrize("name", DIGITS)
def test_a_call_and_a_run_give_finite_images(name: str) -> None:
    call = build(Row(name, 8, dtype="bf16"), 2).call()
    assert call.dtype == torch.bfloat16
    assert call.shape[0] == 2
    run = build(Row(name, 8, mode="sample", steps=3, cfg=True), 2)
    images = run.call()
    assert images.shape == (2, 1, 8, 8)
    assert images.isfinite().all()


@pytest.mark.parametrize(
    ("row", "made"),
    [
        (Row("dit-digits", 8, dtype="bf16"), torch.bfloat16),
        (Row("dit-digits", 8, dtype="fp32"), torch.float32),
        (Row("dit-digits", 8, dtype="bf16", mode="train"), torch.float32),
        (Row("dit-digits", 8, dtype="bf16", weights="dit-digits"), torch.float32),
    ],
)
def test_weights_of_chance_never_take_more_than_their_type(
    row: Row, made: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of 8 billion weights in bfloat16 fits where it would not in float32."""
    created, types = subject.backbone.created, []

    def watched(found: subject.Backbone) -> torch.nn.Module:
        model = created(found)
        types.append({parameter.dtype for parameter in model.parameters() if parameter.requires_grad})
        return model

    monkeypatch.setattr(subject.backbone, "created", watched)
    monkeypatch.setattr(subject.checkpoints, "fill", lambda *_: [])
    build(row, 1)
    assert types == [{made}]
    assert torch.get_default_dtype() == torch.float32


def test_branches_are_merged_for_inference_only() -> None:
    assert build(Row("udit-t48", 128), 1).form == "merged"
    assert build(Row("udit-t48", 128, mode="train"), 1).form == "as trained"


def test_what_loading_the_weights_chose_is_kept(tmp_path: Path) -> None:
    trained = subject.backbone.created(subject.found(Row("dit-digits", 8))).state_dict()
    torch.save({"model": trained, "ema": {name: 2 * tensor for name, tensor in trained.items()}}, tmp_path / "w.pt")
    (note,) = build(Row("dit-digits", 8, weights=str(tmp_path / "w.pt")), 1).notes
    assert "'ema' were taken" in note
    assert build(Row("dit-digits", 8), 1).notes == ()
