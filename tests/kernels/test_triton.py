from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
ON_GPU = pytest.param(
    "0", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]
)


@pytest.mark.parametrize("interpret", ["1", ON_GPU])
def test_triton_kernels(interpret: str) -> None:
    """In a process of its own, since Triton reads when it is first imported whether it is to interpret."""
    pytest.importorskip("triton")
    command = [sys.executable, "-m", "pytest", "-q", "tests/kernels/triton_cases.py"]
    environment = {**os.environ, "TRITON_INTERPRET": interpret}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize(
    ("module", "name", "fixed"),
    [
        ("causal_conv", "forward_kernel", {"WIDTH": 4, "CHUNK": 32, "BLOCK": 64}),
        ("causal_conv", "backward_kernel", {"WIDTH": 4, "CHUNK": 32, "BLOCK": 64}),
        ("selective_scan", "forward_kernel", {"GATED": True, "READ_OUT": True, "CHUNK": 16, "BLOCK": 4, "STATES": 16}),
        ("selective_scan", "backward_kernel", {"GATED": True, "CHUNK": 16, "BLOCK": 4, "STATES": 16}),
    ],
)
def test_compiles_for_a_gpu_that_is_not_here(
    module: str, name: str, fixed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To machine code of compute capability 9.0: what Triton's interpreter takes, its compiler may refuse."""
    triton = pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(import_module(f"dimbench.kernels.{module}.triton_kernels"), name)
    sizes = {"length", "channels", "states", *(each for each in kernel.arg_names if each.endswith(("_batch", "_row")))}
    types = {each: "constexpr" if each in fixed else "i32" if each in sizes else "*fp32" for each in kernel.arg_names}
    source = ASTSource(kernel, types, {(kernel.arg_names.index(each),): value for each, value in fixed.items()})
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]
