"""Multiply-adds of a training step: by hand where that is easy, and what checkpointing repeats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from dimbench import backbone
from dimbench.counting.training_cost import training_step
from dimbench.diffusion.process import find_process, training_passes
from dimbench.papers import cost_records, gpu_days
from tests.console import dimbench, refused


class TwoBlocks(nn.Module):
    """Two linear layers in a list, the second of which ends in an addition that needs no output of it."""

    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 4, 3, padding=1, groups=groups)
        self.blocks = nn.ModuleList(Residual() for _ in range(2))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return x


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.two(torch.relu(self.one(x)))


@pytest.mark.parametrize("groups", [1, 4])
def test_a_step_is_the_sum_of_its_products(groups: int) -> None:
    found = backbone.find(TwoBlocks(groups), inputs=("x=4x8x8", "t=scalar"))
    step = training_step(found, batch=2)
    stem, one, two = 64 * 4 * 9 * 4 // groups, 64 * 4 * 8, 64 * 8 * 4
    assert step.forward == stem + 2 * (one + two)
    # the image itself gets no gradient
    assert step.whole == 2 * stem + 3 * 2 * (one + two)
    assert step.checkpointed["reentrant"] == step.whole + 2 * (one + two)
    assert step.checkpointed["non-reentrant"] == step.whole + 2 * one, "what nothing reads is not repeated"


SMALL_STEPS = (
    "dit-digits", "sit-digits", "uvit-digits", "mmdit-digits", "jit-digits", "dydit-s2", "adm-64",
    "meanflow-b4,depth=2", "imf-b2,depth=3,aux_head_depth=1,disable_v_head=false",
)  # fmt: skip


@pytest.mark.parametrize("name", SMALL_STEPS)
def test_the_passes_of_a_loss_are_those_that_bench_takes(name: str) -> None:
    found = backbone.find(name)
    counted = cost_records.of_training(found, iterations=1, batch=1).metrics
    passes = training_passes(find_process(found.diffusion), backbone.created(found))
    assert counted["step_macs_none"] / counted["forward_macs"] == pytest.approx(
        passes, rel=0.02
    )  # the image itself gets no gradient


def test_checkpoints_without_effect_are_no_row() -> None:
    shown = dimbench("cost", "train", "meanflow-b4,depth=2", "--iterations", 10).stdout
    assert shown.count("not counted") == 2
    assert "Not counted: blocks checkpointed, non-reentrant: no product is made again." in shown


class Shared(TwoBlocks):
    """What its blocks are given besides their tokens was computed once for both."""

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        condition = x.mean(1, keepdim=True).exp()
        for block in self.blocks:
            x = block(x, condition=condition)
        return x


class Conditioned(Residual):
    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return super().forward(x * condition)


def test_checkpoints_that_torch_refuses_are_no_row() -> None:
    network = Shared()
    network.blocks = nn.ModuleList(Conditioned() for _ in range(2))
    found = backbone.find(network, inputs=(torch.randn(1, 4, 2, 2), torch.zeros(1)))
    step = training_step(found)
    assert step.checkpointed.keys() == {"non-reentrant"}
    assert "torch refuses it (Trying to backward through the graph a second time" in step.not_counted["reentrant"]


def test_a_network_without_a_loss_is_counted_by_its_output() -> None:
    shown = dimbench("cost", "train", "torchvision.models:vgg11", "--input", "x=3x32x32", "--iterations", 10).stdout
    assert "for its output, for no loss of it is known" in " ".join(shown.split())
    assert shown.count("not counted") == shown.count("it has no list of blocks") == 2
    assert "for its loss" in " ".join(dimbench("cost", "train", "dit-digits", "--iterations", 10).stdout.split())


def test_gpu_days_are_multiply_adds_over_a_rate(tmp_path: Path) -> None:
    words = ["cost", "train", "dit-s2", "--iterations", 400_000, "--batch", 256, "--mfu", 0.5, "--gpu", "a100-bf16"]
    ran = dimbench(*words, "--out", tmp_path / "c.jsonl", "--json")
    (record,) = json.loads(ran.stdout)
    macs, days = record["metrics"]["step_macs_none"], record["metrics"]["gpu_days_none"]
    assert macs == pytest.approx(3 * 6.0557e9, rel=1e-3)
    assert days == pytest.approx(macs * 400_000 * 256 / (0.5 * 156e12) / 86400)
    assert "did you mean" in refused(2, *words[:-1], "a100-bf61")


def test_a_claim_of_days_needs_a_share_of_each_ceiling() -> None:
    claim = gpu_days.TrainingClaim("dit-s2", 256, "v100", 1.0, 1000, 10, "")
    found = gpu_days.implied(int(7.85e12 * 86.4 / 10), claim)
    assert found["v100-fp32"] == pytest.approx(1e-3 * 1000, rel=1e-6)
    assert found.keys() == {"v100-fp32", "v100-fp16"}
