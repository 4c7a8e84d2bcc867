from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
