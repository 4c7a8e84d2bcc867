"""The causal convolution with SiLU by cpu.cpp: float32 or bfloat16 in, sums in float32."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from dimbench.kernels import native
from dimbench.kernels.native import Rows, rows


class _Conv(ctypes.Structure):
    """`Conv` of cpu.cpp; `kept` holds what it points to."""

    kept: tuple[Tensor, ...]
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "length", "channels", "width")),
        *((name, Rows) for name in ("x", "y")),
        *((name, ctypes.c_void_p) for name in ("weight", "bias")),
    )


class _Gradients(ctypes.Structure):
    """`Gradients` of cpu.cpp."""

    _fields_ = (*((name, Rows) for name in ("y", "x")), *((name, ctypes.c_void_p) for name in ("weight", "bias")))


def _library() -> ctypes.CDLL:
    return native.load(Path(__file__).with_name("cpu.cpp"))


def why_not(x: Tensor, weight: Tensor, bias: Tensor) -> str | None:
    if reason := native.why_not((x,), (weight, bias)):
        return reason
    most = _library().causal_conv_max_width()
    return f"it takes up to {most} taps, not {weight.shape[1]}" if weight.shape[1] > most else None


def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    conv, y = _conv(x, weight, bias), torch.empty(x.shape, dtype=x.dtype)
    conv.y = rows(y)
    native.call(_library(), "causal_conv_forward", x.dtype, conv)
    return y


def backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    channels, width = weight.shape
    grad, gx = native.adjacent(grad, x.dtype), torch.empty(x.shape, dtype=x.dtype)
    gweight, gbias = torch.empty(len(x), width, channels), torch.empty(len(x), channels)
    gradients = _Gradients(rows(grad), rows(gx), gweight.data_ptr(), gbias.data_ptr())
    native.call(_library(), "causal_conv_backward", x.dtype, _conv(x, weight, bias), gradients)
    return gx, gweight.sum(0).t().to(weight.dtype, copy=True), gbias.sum(0).to(bias.dtype)


def _conv(x: Tensor, weight: Tensor, bias: Tensor) -> _Conv:
    """The call's description, without outputs."""
    x = native.adjacent(x, x.dtype)
    by_channel = [tensor.to(torch.float32).contiguous() for tensor in (weight.t(), bias)]
    conv = _Conv(*x.shape, weight.shape[1], rows(x), Rows(), *(t.data_ptr() for t in by_channel))
    conv.kept = (x, *by_channel)
    return conv
