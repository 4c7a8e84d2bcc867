"""Stochastic depth."""

from __future__ import annotations

import pytest
import torch

from dimbench.layers.drop_path import drop_path


def test_whole_samples_are_left_out_and_the_mean_stays() -> None:
    torch.manual_seed(0)
    kept = drop_path(torch.ones(1000, 3, 2), 0.4)
    assert kept.unique().tolist() == [0.0, pytest.approx(1 / 0.6, rel=1e-6)]
    assert torch.equal(kept, kept[:, :1, :1].expand_as(kept))
    assert kept.mean().item() == pytest.approx(1.0, abs=0.11)  # 4 standard deviations of 1000 draws at rate 0.4


def test_nothing_is_left_out_at_rate_0() -> None:
    x = torch.randn(10, 3, 2)
    assert torch.equal(drop_path(x, 0.0), x)
