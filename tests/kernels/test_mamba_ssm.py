"""The adapter to mamba-ssm, with a function of the package's signature and layout in place of its CUDA kernel."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from dimbench.bench import backend_calls
from dimbench.errors import UsageError
from dimbench.kernels import backends
from dimbench.kernels.selective_scan import backends as scan_backends
from dimbench.kernels.selective_scan import mamba_ssm, reference, selective_scan
from tests.kernels.scan_cases import Inputs, cast, inputs, relative_error

FLOAT32 = 2e-6
PACKAGE = "mamba_ssm.ops.selective_scan_interface"


class _Scan(torch.autograd.Function):
    """(B, E, L) in and out, as the package's own function; saves and differentiates by itself."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor | None) -> Tensor:
        ctx.save_for_backward(*inputs)
        return reference.forward(*_turned(inputs)).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _turned(reference.backward(grad.transpose(1, 2), *_turned(ctx.saved_tensors)))


def _turned(inputs: Inputs) -> Inputs:
    return tuple(t.transpose(1, 2) if t is not None and t.ndim == 3 else t for t in inputs)


def selective_scan_fn(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
) -> Tensor:
    batch, _, length = u.shape
    assert delta_softplus
    assert B.shape == C.shape == (batch, A.shape[1], length)
    assert A.dtype == torch.float32
    assert u.dtype == delta.dtype == B.dtype == C.dtype
    return _Scan.apply(u, delta, A, B, C, D, z, delta_bias)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = PACKAGE.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(parts[end - 1]))
    monkeypatch.setattr(sys.modules[PACKAGE], "selective_scan_fn", selective_scan_fn, raising=False)
    monkeypatch.setattr(mamba_ssm, "why_not", lambda *inputs: None)


def results(case: Inputs) -> list[Tensor]:
    leaves: list[Any] = [None if t is None else t.detach().requires_grad_() for t in case]
    y = selective_scan(*leaves)
    weights = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape).to(y)
    return [y, *torch.autograd.grad(y, [t for t in leaves if t is not None], weights)]


@pytest.mark.parametrize(("gate", "bias"), [(True, True), (False, True), (True, False)])
@pytest.mark.usefixtures("package")
def test_output_and_gradients_come_back_in_our_layout(gate: bool, bias: bool) -> None:
    case = inputs(2, 9, 5, 3, gate, bias)
    with backends.use("mamba-ssm"), backends.watch() as used:
        ours = results(cast(case, torch.float32))
    assert used == {"selective_scan": "mamba-ssm"}
    for mine, exact in zip(ours, results(case), strict=True):
        assert mine.shape == exact.shape
        assert relative_error(mine, exact) < FLOAT32


@pytest.mark.usefixtures("package")
def test_types_are_made_one() -> None:
    case = list(cast(inputs(1, 9, 5, 3), torch.float32))
    case[0] = case[0].bfloat16()
    with backends.use("mamba-ssm"):
        y, gu, gdelta, *_ = results(tuple(case))
    assert (y.dtype, gu.dtype, gdelta.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)


@pytest.mark.usefixtures("package")
def test_its_function_is_timed_alone_beside_ours() -> None:
    """On its own layout, so that nothing is turned round, and without a forward pass before the gradients."""
    example = scan_backends.example(backends.Size(2, 9, 5, 3))
    forward, backward = example.floors["mamba-ssm alone"], example.floors_backward["mamba-ssm alone"]
    with torch.inference_mode():
        y = forward()
    assert isinstance(y, Tensor)
    assert relative_error(y.transpose(1, 2), selective_scan(*example.inputs)) < FLOAT32
    leaves = [t.detach().requires_grad_() for t in example.inputs]
    ours = torch.autograd.grad(selective_scan(*leaves).sum(), leaves)
    theirs = backward()
    assert isinstance(theirs, tuple)
    for mine, its, like in zip(ours, theirs, example.inputs, strict=True):
        assert relative_error(its if its.shape == like.shape else its.transpose(1, 2), mine) < FLOAT32
    for calls in (backend_calls.forward_calls(example, [], ""), backend_calls.backward_calls(example, [])):
        assert "mamba-ssm alone" in calls


def test_on_the_processor_it_is_no_choice() -> None:
    case = cast(inputs(1, 2, 3, 2), torch.float32)
    with backends.use("mamba-ssm"), pytest.raises(UsageError, match=r"mamba-ssm cannot run .* runs on cuda"):
        selective_scan(*case)
    assert scan_backends.backend_for(*case) != "mamba-ssm"


def test_a_package_that_is_missing_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mamba_ssm, "find_spec", lambda name: None)
    assert "not installed" in (mamba_ssm.missing() or "")


def test_a_package_without_its_compiled_part_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "mamba_ssm" / "ops"
    folder.mkdir(parents=True)
    for init in (folder, folder.parent):
        (init / "__init__.py").touch()
    (folder / "selective_scan_interface.py").write_text("import selective_scan_cuda\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "mamba_ssm"]:
        monkeypatch.delitem(sys.modules, name)
    assert mamba_ssm.missing() == "mamba-ssm cannot be imported (No module named 'selective_scan_cuda')"
    for name in [name for name in sys.modules if name.split(".")[0] == "mamba_ssm"]:
        monkeypatch.delitem(sys.modules, name)
