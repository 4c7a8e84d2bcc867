from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dimbench.kernels import backends
from dimbench.kernels.causal_conv import backends as conv_backends
from dimbench.kernels.causal_conv import causal_conv
from tests.kernels.scan_cases import relative_error

FLOAT64 = 1e-13  # rounding of a few sums
FLOAT32 = 2e-6  # the same in float32; measured 1e-7 to 8e-7, the largest for sums over thousands of positions
BFLOAT16 = 2**-8  # half a unit in the last place

Case = tuple[Tensor, Tensor, Tensor]
NAMES = ("cpu", "reference")


def case(batch: int, length: int, channels: int, width: int = 4, dtype: torch.dtype = torch.float64) -> Case:
    generator = torch.Generator().manual_seed(length)
    x, weight, bias = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((batch, length, channels), (channels, width), (channels,))
    )
    wide = torch.promote_types(dtype, torch.float32)
    return x.to(dtype), weight.to(wide), bias.to(wide)


def loop(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One position after another."""
    x, weight, bias = x.double(), weight.double(), bias.double()
    y, width = torch.empty_like(x), weight.shape[1]
    for position in range(x.shape[1]):
        value = bias.expand(len(x), -1)
        for tap in range(width):
            if (seen := position - width + 1 + tap) >= 0:
                value = value + weight[:, tap] * x[:, seen]
        y[:, position] = value / (1 + torch.exp(-value))
    return y


def gradients(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    leaves = [tensor.detach().requires_grad_() for tensor in (x, weight, bias)]
    y = causal_conv(*leaves)
    weights = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape)
    return torch.autograd.grad(y, leaves, weights.to(y.dtype))


def test_the_fast_backend_is_tested_where_there_is_a_compiler() -> None:
    assert conv_backends.backend_for(*case(1, 2, 3, dtype=torch.float32)) == "cpu"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("length", [1, 2, 63, 100, 1000])
@pytest.mark.usefixtures("nan_in_new_memory")
def test_forward_against_the_loop(name: str, batch: int, length: int) -> None:
    inputs = case(batch, length, 70, dtype=torch.float32)
    with backends.use(name):
        assert relative_error(causal_conv(*inputs), loop(*inputs)) < FLOAT32


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [1, 2, 3, 8])
@pytest.mark.usefixtures("nan_in_new_memory")
def test_any_width(name: str, width: int) -> None:
    inputs = case(2, 20, 17, width)
    narrow = case(2, 20, 17, width, torch.float32)
    with backends.use(name):
        assert relative_error(causal_conv(*narrow), loop(*inputs)) < FLOAT32
        ours = gradients(*narrow)
    for gradient, exact in zip(ours, gradients(*inputs), strict=True):
        assert relative_error(gradient, exact) < FLOAT32


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_rounded_once(name: str) -> None:
    inputs = case(2, 63, 70, dtype=torch.bfloat16)
    with backends.use(name):
        y = causal_conv(*inputs)
    assert y.dtype == torch.bfloat16
    once = 1 if name == "cpu" else 4  # torch rounds weights and sums before SiLU
    assert relative_error(y, loop(*inputs)) < once * BFLOAT16


def test_gradients_of_the_reference() -> None:
    assert torch.autograd.gradcheck(causal_conv, [t.requires_grad_() for t in case(2, 7, 3)])
    assert torch.autograd.gradcheck(causal_conv, [t.requires_grad_() for t in case(1, 2, 3)])


@pytest.mark.parametrize("length", [1, 3, 63, 1000])
@pytest.mark.usefixtures("nan_in_new_memory")
def test_gradients_against_the_reference_in_float64(length: int) -> None:
    with backends.use("cpu"):
        ours = gradients(*case(3, length, 70, dtype=torch.float32))
    for gradient, exact in zip(ours, gradients(*case(3, length, 70)), strict=True):
        assert relative_error(gradient, exact) < FLOAT32


@pytest.mark.parametrize("name", NAMES)
def test_rows_may_lie_apart(name: str) -> None:
    x, weight, bias = case(2, 63, 20, dtype=torch.float32)
    beside = torch.cat([x, torch.full_like(x, torch.nan)], dim=-1).chunk(2, dim=-1)[0]
    swapped = x.transpose(1, 2).contiguous().transpose(1, 2)
    with backends.use(name):
        for apart in (beside, swapped):
            assert not apart.is_contiguous()
            assert relative_error(causal_conv(apart, weight, bias), loop(x, weight, bias)) < FLOAT32
            for ours, plain in zip(gradients(apart, weight, bias), gradients(x, weight, bias), strict=True):
                assert relative_error(ours, plain) < FLOAT32


@pytest.mark.parametrize("name", NAMES)
def test_the_past_does_not_see_the_future(name: str) -> None:
    x, weight, bias = case(1, 40, 20, dtype=torch.float32)
    with backends.use(name):
        before = causal_conv(x, weight, bias)
        x[0, 25, 3] = torch.nan
        after = causal_conv(x, weight, bias)
    assert after[0, 25:29, 3].isnan().all()
    after[0, 25:29, 3] = before[0, 25:29, 3]
    assert torch.equal(after, before)


def test_operator_holds_torchs_contract() -> None:
    leaves = tuple(t.requires_grad_() for t in case(1, 5, 3, dtype=torch.float32))
    torch.library.opcheck(torch.ops.dimbench.causal_conv.default, leaves)


def test_wrong_shapes_are_named() -> None:
    x, weight, bias = case(1, 5, 3)
    for wrong in ((x[0], weight, bias), (x, weight[:2], bias), (x, weight, bias[:2]), (x, weight[0], bias)):
        with pytest.raises(ValueError, match=r"causal_conv got x .*weight .*bias .*; expected"):
            causal_conv(*wrong)


def test_more_taps_than_the_processor_kernel_takes() -> None:
    assert "9" in (conv_backends.why_not("cpu", *case(1, 20, 3, 9, torch.float32)) or "")


def test_flops_count_every_product() -> None:
    with FlopCounterMode(display=False) as counter:
        causal_conv(*(t.to("meta") for t in case(2, 5, 6)))
    assert counter.get_total_flops() == 2 * (2 * 5 * 6) * 4
