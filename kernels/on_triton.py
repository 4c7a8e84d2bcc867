"""What the kernels in Triton share: where they run, and how they see a tensor.

With TRITON_INTERPRET=1 Triton runs the same kernels on the processor, slowly, to test them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def why_not(by_position: Sequence[Tensor | None], others: Sequence[Tensor | None]) -> str | None:
    """Why these tensors are not for a kernel in Triton, or None; `others` are converted to float32."""
    device = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
    for tensor in (*by_position, *others):
        if tensor is not None and tensor.device.type != device:
            return f"it runs on {device} and a tensor lies on {tensor.device}"
    for tensor in by_position:
        if tensor is not None and tensor.dtype not in _TYPES:
            return f"it takes float32, float16 and bfloat16, not {str(tensor.dtype).removeprefix('torch.')}"
    return None if find_spec("triton") else "triton is not installed"


def by_position(name: str, tensor: Tensor) -> dict[str, Any]:
    """A (B, L, W) tensor with adjacent elements in its rows, and its strides, as arguments of a kernel."""
    tensor = tensor if tensor.stride(-1) == 1 else tensor.contiguous()
    return {name: tensor, f"{name}_batch": tensor.stride(0), f"{name}_row": tensor.stride(1)}
