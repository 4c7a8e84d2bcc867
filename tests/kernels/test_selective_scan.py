from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dimbench.kernels import backends
from dimbench.kernels.selective_scan import backends as scan_backends
from dimbench.kernels.selective_scan import selective_scan
from tests.kernels.scan_cases import Inputs, cast, inputs, loop, relative_error, scattered, sliced

FLOAT64 = 1e-12  # rounding of some thousand sums
FLOAT32 = 2e-6  # the same in float32, relative to the largest output; measured 2e-7 to 7e-7
BFLOAT16 = 2**-8  # half a unit in the last place of an output, and the rounding of a gradient's factors
ULPS = 3e-7  # two to three units in the last place of float32

RUNNABLE = [
    name
    for name in scan_backends.names
    if scan_backends.why_not(name, *cast(inputs(1, 1, 1, 1), torch.float32)) is None
]
FAST = [name for name in RUNNABLE if name != "reference"]


def test_the_fast_backend_is_tested_where_there_is_a_compiler() -> None:
    assert "cpu" in RUNNABLE


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("length", [1, 63, 100, 1000])
@pytest.mark.usefixtures("nan_in_new_memory")
class TestAgainstTheLoop:
    def test_reference_in_float64(self, batch: int, length: int) -> None:
        case = inputs(batch, length, 6, 4)
        assert relative_error(selective_scan(*case), loop(*case)) < FLOAT64

    @pytest.mark.parametrize("name", RUNNABLE)
    def test_float32(self, name: str, batch: int, length: int) -> None:
        case = inputs(batch, length, 70, 16)  # 70 channels fill no vector and no group
        with backends.use(name):
            y = selective_scan(*cast(case, torch.float32))
        assert y.dtype == torch.float32
        assert relative_error(y, loop(*case)) < FLOAT32


@pytest.mark.parametrize("name", RUNNABLE)
@pytest.mark.parametrize(("channels", "states"), [(1, 1), (16, 5), (129, 40)])
def test_any_number_of_channels_and_states(name: str, channels: int, states: int) -> None:
    case = inputs(2, 37, channels, states)
    with backends.use(name):
        assert relative_error(selective_scan(*cast(case, torch.float32)), loop(*case)) < FLOAT32


@pytest.mark.parametrize("name", RUNNABLE)
@pytest.mark.parametrize(("gate", "bias"), [(True, False), (False, True), (False, False)])
def test_without_gate_or_bias(name: str, gate: bool, bias: bool) -> None:
    case = inputs(1, 40, 20, 16, gate, bias)
    with backends.use(name):
        assert relative_error(selective_scan(*cast(case, torch.float32)), loop(*case)) < FLOAT32


@pytest.mark.parametrize("name", RUNNABLE)
def test_bfloat16_is_rounded_once(name: str) -> None:
    case = list(cast(inputs(2, 100, 70, 16, gate=False), torch.bfloat16))
    case[0][0, 0], case[3][0, 0] = 1, 0  # so that y = D there: the first two lie half-way between bfloat16 numbers
    case[5][:3] = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20])
    with backends.use(name):
        y = selective_scan(*case)
        unrounded = selective_scan(*cast(tuple(case), torch.float32))
    assert torch.equal(y, unrounded.bfloat16())
    exact = loop(*cast(tuple(case), torch.float64))
    assert ((y.double() - exact).abs() <= BFLOAT16 * exact.abs() + FLOAT32 * exact.abs().max()).all()


@pytest.mark.parametrize("name", RUNNABLE)
def test_decay_is_right_to_the_last_digit(name: str) -> None:
    exponents = -torch.rand(4096, generator=torch.Generator().manual_seed(0))
    u = torch.zeros(1, 2, 4096)
    u[0, 0], step = 1 / 32, torch.full_like(u, 32.0)  # above 20 softplus is the identity
    one = torch.ones(1, 2, 1)
    with backends.use(name):
        _, after = selective_scan(u, step, (exponents / 32)[:, None], one, one, torch.zeros(4096)).unbind(1)
    assert (after[0].double() / exponents.double().exp() - 1).abs().max() < ULPS


@pytest.mark.parametrize("name", RUNNABLE)
def test_small_steps_keep_their_digits(name: str) -> None:
    delta = torch.linspace(-60, 0, 4096).expand(1, 1, -1)
    one = torch.ones(1, 1, 1)
    with backends.use(name):
        step = selective_scan(torch.ones(1, 1, 4096), delta, torch.zeros(4096, 1), one, one, torch.zeros(4096))
    exact = torch.log1p(delta.double().exp())
    assert (step / exact - 1).abs().max() < 60 * ULPS  # the exponent itself is rounded


@pytest.mark.parametrize("name", RUNNABLE)
@pytest.mark.parametrize("spread", [scattered, sliced])
def test_inputs_need_not_be_contiguous(name: str, spread: Callable[[Tensor], Tensor]) -> None:
    case = cast(inputs(2, 63, 20, 16), torch.float32)
    apart = tuple(spread(t) for t in case)
    assert not any(t.is_contiguous() for t in apart if t.ndim > 1)
    with backends.use(name):
        results = [(selective_scan(*inputs), *_gradients(inputs)) for inputs in (apart, case)]
    for ours, plain in zip(*results, strict=True):
        assert relative_error(ours, plain) < FLOAT32


def _gradients(case: Inputs) -> list[Tensor]:
    leaves = [None if t is None else t.detach().requires_grad_() for t in case]
    y = selective_scan(*leaves)
    weights = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape)
    return list(torch.autograd.grad(y, [t for t in leaves if t is not None], weights.to(y.dtype)))


@pytest.mark.parametrize(("gate", "bias"), [(True, True), (False, True), (True, False)])
def test_gradients_of_the_reference(gate: bool, bias: bool) -> None:
    case: list[Any] = [None if t is None else t.requires_grad_() for t in inputs(2, 7, 3, 2, gate, bias)]
    assert torch.autograd.gradcheck(selective_scan, case)


def test_gradients_of_the_reference_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    case = inputs(2, 30, 3, 4)
    whole = _gradients(case)
    monkeypatch.setattr("dimbench.kernels.selective_scan.reference._CHUNK_ELEMENTS", 7 * 2 * 3 * 4)
    for parts, once in zip(_gradients(case), whole, strict=True):
        assert relative_error(parts, once) < FLOAT64


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize(
    ("shape", "gate", "bias"),
    [
        ((1, 1, 17, 16), True, True),
        ((3, 100, 70, 16), True, True),
        ((2, 63, 130, 5), False, True),
        ((1, 1000, 8, 16), True, False),
    ],
)
@pytest.mark.usefixtures("nan_in_new_memory")
def test_gradients_against_the_reference_in_float64(
    name: str, shape: tuple[int, int, int, int], gate: bool, bias: bool
) -> None:
    case = inputs(*shape, gate, bias)
    exact = _gradients(case)
    for dtype, tolerance in ((torch.float32, FLOAT32), (torch.bfloat16, 4 * BFLOAT16)):
        rounded = cast(case, dtype)
        if dtype is torch.bfloat16:
            exact = _gradients(cast(rounded, torch.float64))
        with backends.use(name):
            ours = _gradients(rounded)
        for gradient, wanted in zip(ours, exact, strict=True):
            assert torch.allclose(gradient.double(), wanted, rtol=0, atol=tolerance * wanted.abs().max().item() + 1e-30)


@pytest.mark.parametrize(("threads", "batch"), [(1, 1), (2, 1), (3, 2), (2, 3)])
@pytest.mark.usefixtures("nan_in_new_memory")
def test_channels_are_shared_among_threads(threads: int, batch: int) -> None:
    case = inputs(batch, 40, 2100, 16)  # more than one task takes
    exact = [selective_scan(*case), *_gradients(case)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with backends.use("cpu"):
            ours = [selective_scan(*cast(case, torch.float32)), *_gradients(cast(case, torch.float32))]
    finally:
        torch.set_num_threads(before)
    for one, wanted in zip(ours, exact, strict=True):
        assert relative_error(one, wanted) < FLOAT32


@pytest.mark.parametrize("name", RUNNABLE)
def test_nan_and_infinity_go_on_in_their_channel_alone(name: str) -> None:
    case = cast(inputs(1, 50, 40, 16), torch.float32)
    with backends.use(name):
        clean = selective_scan(*case)
        for value in (torch.nan, torch.inf):
            u = case[0].clone()
            u[0, 20, 3] = value
            y = selective_scan(u, *case[1:])
            assert not y[0, 20:22, 3].isfinite().any()
            y[0, 20:, 3] = clean[0, 20:, 3]
            assert torch.equal(y, clean)


@pytest.mark.parametrize("name", RUNNABLE)
@pytest.mark.parametrize("delta", [-200.0, -20.0, 19.0, 21.0, 1e4])
def test_extreme_steps(name: str, delta: float) -> None:
    case = list(cast(inputs(1, 40, 20, 16), torch.float32))
    case[1] = torch.full_like(case[1], delta)
    with backends.use("reference"):
        exact = selective_scan(*(t.double() for t in case))
    with backends.use(name):
        y = selective_scan(*case)
    assert relative_error(y, exact) < FLOAT32


def test_operator_holds_torchs_contract() -> None:
    case = tuple(t.float().requires_grad_() for t in inputs(1, 5, 3, 2))
    torch.library.opcheck(torch.ops.dimbench.selective_scan.default, case)


@pytest.mark.parametrize(("position", "name"), list(enumerate(["u", "delta", "A", "B", "C", "D", "z", "delta_bias"])))
def test_wrong_shapes_are_named(position: int, name: str) -> None:
    case = list(inputs(2, 5, 3, 4))
    case[position] = torch.zeros(7, 7, dtype=torch.float64)
    with pytest.raises(ValueError, match=rf"selective_scan got .*{name if name != 'A' else 'A'}.*\(7, 7\).*expected"):
        selective_scan(*case)


@pytest.mark.parametrize(("gate", "products"), [(True, 3), (False, 2)])
def test_flops_count_every_product(gate: bool, products: int) -> None:
    case = [None if t is None else t.to("meta") for t in inputs(2, 5, 6, 4, gate)]
    with FlopCounterMode(display=False) as counter:
        selective_scan(*case)
    assert counter.get_total_flops() == 2 * (2 * 5 * 6) * (4 * 4 + products)
