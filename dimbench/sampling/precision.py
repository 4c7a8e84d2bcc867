"""In which numbers a network computes; the sampler around it keeps its state in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from dimbench.errors import UsageError

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def set_precision(dtype: str) -> None:
    """Let float32 products of this process run in TF32 or not. cuDNN's own default would be TF32 for convolutions."""
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = dtype == "tf32"


@contextmanager
def made_in(dtype: torch.dtype) -> Iterator[None]:
    """Networks that are built inside have their weights in that type from the start, and never twice the memory."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def placed(network: nn.Module, device: str, dtype: torch.dtype) -> nn.Module:
    """`network` there and in that type. Networks of diffusers warn of any type they are told; only what should stay in
    float32 and does not is worth it."""
    idle = dtype == torch.float32 or not getattr(network, "_keep_in_fp32_modules", None)
    return nn.Module.to(network, device, dtype) if idle else network.to(device, dtype)


def check_device(place: str) -> None:
    """Raise UsageError unless torch can use this device here; on a GPU nothing is started for it."""
    kind, _, index = place.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise UsageError(f"the device {place!r} is unknown; give cpu, cuda or cuda:N")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        seen = torch.cuda.device_count()
        raise UsageError(
            f"{place} was asked for, but torch sees {seen or 'no'} NVIDIA GPU{'s' if seen > 1 else ''} here; give "
            f"--device {'cuda:0 or ' if seen else ''}cpu"
        )
