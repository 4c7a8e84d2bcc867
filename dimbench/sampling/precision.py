"""In which precision a network computes; the sampler around it keeps its state in float32."""

from __future__ import annotations

import torch

from dimbench.diffusion.guidance import LabelledNetwork


def allow_tf32(allowed: bool) -> None:
    """Whether matrix products and convolutions of this process may round to TF32 (torch lets only the latter)."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def around(network: LabelledNetwork, dtype: torch.dtype) -> LabelledNetwork:
    """`network`, whose weights are in `dtype`, for an x and an output in the sampler's; times stay as given."""
    return lambda x, t, y: network(x.to(dtype), t, y).to(x.dtype)
