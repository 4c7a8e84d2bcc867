"""The block of LightningDiT (Yao et al. 2025, arXiv 2501.01423), and of those who took it over: DiT's with RMSNorm,
SwiGLU and normed queries and keys, each to be left out."""

from __future__ import annotations

from functools import partial

from torch import nn

from dimbench.layers.adaln import AdaLNZeroBlock, Norm, PlainNorm
from dimbench.layers.attention import SelfAttention
from dimbench.layers.mlp import Mlp, SwiGlu
from dimbench.layers.norm import fine_rms_norm


def token_norm(use_rmsnorm: bool) -> Norm:
    """RMSNorm with a gain, or layer norm without."""
    return fine_rms_norm if use_rmsnorm else PlainNorm


def lightning_block(
    width: int,
    heads: int,
    mlp_ratio: float,
    *,
    use_swiglu: bool,
    use_rmsnorm: bool,
    use_qknorm: bool,
    block: type[AdaLNZeroBlock] = AdaLNZeroBlock,
) -> AdaLNZeroBlock:
    """A `block` of these parts; the SwiGLU has two thirds of the other network's width."""
    head_norm = (fine_rms_norm if use_rmsnorm else partial(nn.LayerNorm, eps=1e-5)) if use_qknorm else None
    hidden = int(width * mlp_ratio)
    mlp = SwiGlu(width, int(2 / 3 * hidden)) if use_swiglu else Mlp(width, hidden)
    return block(width, SelfAttention(width, heads, norm=head_norm), mlp, token_norm(use_rmsnorm))
