"""Tests of the Triton kernels, run by test_triton.py in a process of its own: on a GPU, or by Triton's interpreter."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dimbench.errors import UsageError
from dimbench.kernels import backends, on_triton
from dimbench.kernels.causal_conv import causal_conv
from dimbench.kernels.causal_conv import triton as conv_triton
from dimbench.kernels.selective_scan import backends as scan_backends
from dimbench.kernels.selective_scan import selective_scan, triton
from dimbench.layers.mamba import Mixer
from tests.kernels.scan_cases import Inputs, cast, inputs, relative_error, scattered, sliced

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
# relative to the largest element; narrow types round outputs and gradients once
TOLERANCES = {torch.float32: 3e-6, torch.float16: 2**-10, torch.bfloat16: 2**-6}


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks and blocks in a small case."""
    monkeypatch.setattr(triton, "_CHUNK", 4)
    monkeypatch.setattr(triton, "_BLOCK", 2)


def results(case: Inputs) -> list[Tensor]:
    """The output and all gradients, on the processor."""
    leaves: list[Any] = [None if t is None else t.detach().requires_grad_() for t in case]
    y = selective_scan(*leaves)
    weights = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape).to(y)
    return [t.cpu() for t in (y, *torch.autograd.grad(y, [t for t in leaves if t is not None], weights))]


def agrees(case: Inputs, dtype: torch.dtype) -> None:
    narrow = cast(case, dtype)
    exact = results(cast(narrow, torch.float64))
    with backends.use("triton"), backends.watch() as used:
        ours = results(tuple(None if t is None else t.to(DEVICE) for t in narrow))
    assert used == {"selective_scan": "triton"}
    for mine, wanted in zip(ours, exact, strict=True):
        assert relative_error(mine, wanted) < TOLERANCES[dtype]


def convolved(case: Inputs) -> list[Tensor]:
    """The convolution's output and all gradients, on the processor."""
    leaves = [t.detach().requires_grad_() for t in case]
    y = causal_conv(*leaves)
    weights = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape).to(y)
    return [t.cpu() for t in (y, *torch.autograd.grad(y, leaves, weights))]


@pytest.mark.parametrize(
    ("length", "width", "dtype"),
    [(1, 4, torch.float32), (9, 4, torch.float32), (6, 3, torch.float16), (5, 1, torch.bfloat16)],
)
@pytest.mark.usefixtures("nan_in_new_memory")
def test_convolution(length: int, width: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_triton, "_CHUNK", 4)
    monkeypatch.setattr(conv_triton, "_BLOCK", 2)
    torch.manual_seed(length)
    x, weight, bias = (torch.randn(*shape, dtype=torch.float64) for shape in ((2, length, 3), (3, width), (3,)))
    narrow = (sliced(x.to(dtype)), weight.float(), bias.float())
    exact = convolved(tuple(t.double() for t in narrow))
    with backends.use("triton"), backends.watch() as used:
        ours = convolved(tuple(t.to(DEVICE) for t in narrow))
    assert used == {"causal_conv": "triton"}
    for mine, wanted in zip(ours, exact, strict=True):
        assert relative_error(mine, wanted) < TOLERANCES[dtype]


@pytest.mark.usefixtures("nan_in_new_memory")
def test_a_mixer_runs_as_two_kernels_between_its_projections() -> None:
    torch.manual_seed(0)
    mixer = Mixer(8, state=3)
    x = torch.randn(1, 5, 8)
    exact = mixer.double()(x.double())
    with backends.use("triton"), backends.watch() as used:
        ours = mixer.float().to(DEVICE)(x.to(DEVICE))
    assert used == {"causal_conv": "triton", "selective_scan": "triton"}
    assert relative_error(ours.cpu(), exact) < TOLERANCES[torch.float32]


@pytest.mark.parametrize("length", [2, 4, 9])
@pytest.mark.usefixtures("small_tiles", "nan_in_new_memory")
def test_chunks_and_blocks(length: int) -> None:
    agrees(inputs(2, length, 3, 3), torch.float32)


@pytest.mark.parametrize(("gate", "bias"), [(False, True), (True, False)])
@pytest.mark.usefixtures("small_tiles", "nan_in_new_memory")
def test_without_gate_or_bias(gate: bool, bias: bool) -> None:
    agrees(inputs(1, 5, 2, 2, gate, bias), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.usefixtures("small_tiles")
def test_narrow_types(dtype: torch.dtype) -> None:
    agrees(inputs(1, 5, 2, 2), dtype)


@pytest.mark.usefixtures("nan_in_new_memory")
def test_tiles_as_they_run() -> None:
    agrees(inputs(1, 17, 1, 5), torch.float32)


@pytest.mark.parametrize("spread", [scattered, sliced])
@pytest.mark.usefixtures("small_tiles")
def test_inputs_need_not_be_contiguous(spread: Callable[[Tensor], Tensor]) -> None:
    agrees(tuple(spread(t) for t in cast(inputs(1, 5, 2, 2), torch.float32)), torch.float32)


def test_reasons_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    case = tuple(t.to(DEVICE) for t in cast(inputs(1, 2, 3, 2), torch.float32))
    assert scan_backends.why_not("triton", *case) is None
    assert "float64" in (scan_backends.why_not("triton", *(t.double() for t in case)) or "")
    wide = tuple(t.to(DEVICE) for t in cast(inputs(1, 2, 3, 65), torch.float32))
    assert "65" in (scan_backends.why_not("triton", *wide) or "")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with backends.use("triton"), pytest.raises(UsageError, match="it runs on cuda and a tensor lies on cpu"):
        selective_scan(*(t.cpu() for t in case))
    monkeypatch.setattr(on_triton, "find_spec", lambda name: None)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert scan_backends.why_not("triton", *(t.cpu() for t in case)) == "triton is not installed"
