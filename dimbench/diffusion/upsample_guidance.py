"""Upsample guidance: a network made for one size also draws a larger one, led by itself on the reduced image.

Hwang et al. 2024, arXiv 2404.01709, as DiM's authors use it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dimbench.diffusion.convention import Ask, Network, evaluate, time_dtype
from dimbench.diffusion.dpm_solver import BETAS, DIFFUSION_STEPS

_ALPHAS_CUMPROD = np.append(1.0, np.cumprod(1.0 - BETAS)).astype(np.float32)
with np.errstate(divide="ignore"):
    _SNR = _ALPHAS_CUMPROD / (1 - _ALPHAS_CUMPROD)
_CANDIDATES = (np.arange(999, -1, -1) / DIFFUSION_STEPS).astype(np.float32)
_CANDIDATES[-1] = 1e-5
# Truncated products in float32: five of them come out one too low, and the authors' look-up with them.
_CANDIDATE_STEPS = (np.float32(DIFFUSION_STEPS) * _CANDIDATES).astype(np.int64)


def upsampled(factor: int, *, strength: float = 1.0, share: float = 0.3) -> Ask:
    """How to ask a network (x (B, C, h, w), t = 1000 times the time of dpm_solver) -> noise for images of `factor`
    times its side: the means of its noise over factor x factor pixels are drawn towards those of the noise it sees in
    the image reduced by `factor`.

    Only in the first `share` of the times, from noise on; `strength` 1 replaces the means.
    """

    def ask(network: Network, x: Tensor, t: float, dtype: torch.dtype) -> Tensor:
        noise = evaluate(network, x, t, dtype)
        told = np.float32(t)
        if told / DIFFUSION_STEPS < np.float32(1 - share):
            return noise
        kept = float(_ALPHAS_CUMPROD[int(told)])
        reduced = F.avg_pool2d(x, factor) / math.sqrt(kept + (1 - kept) / factor**2)
        low = evaluate(network, reduced, DIFFUSION_STEPS * low_time(float(told), factor), time_dtype(x))
        lead = low / factor - F.avg_pool2d(noise, factor)
        return noise + strength * lead.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)

    return ask


def low_time(told: float, factor: int) -> float:
    """The time at which an image reduced by `factor` is as noisy as the whole one at the time `told` / 1000, where
    averaging has raised its signal-to-noise ratio by factor^2.

    The authors look it up in steps of 1/1000 and read it off in steps of 1/999.
    """
    distance = np.abs(np.float32(factor**2) * _SNR[int(told)] - _SNR[_CANDIDATE_STEPS])
    return min(1 - int(np.argmin(distance)) / 999, told / DIFFUSION_STEPS)
