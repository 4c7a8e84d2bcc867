"""Operators that a foreign module may bring, each against a count made by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench import presets
from dimbench.counting import products
from dimbench.counting.bill import Bill, trace
from dimbench.counting.rules import RULES
from dimbench.meta import NeedsValuesError, build, shapes_only
from tests import example


class Calls(nn.Module):
    """A network of one function."""

    def __init__(self, function: Callable[..., Any], *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, *given: Tensor) -> Any:
        return self.function(*self.parts, *given)


def bill_of(
    function: Callable[..., Any], *given: Tensor, device: str = "meta", parts: tuple[nn.Module, ...] = ()
) -> Bill:
    model = Calls(function, *deepcopy(parts)).to(device)
    return trace(model, ([x.clone().to(device) for x in given], {}), 1)


def macs(bill: Bill) -> int:
    return RULES["macs"].macs(bill)


def by_operator(bill: Bill) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for line in bill.lines:
        sums[line.operator] += line.macs
    return {operator: macs for operator, macs in sums.items() if macs}


def ones(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.ones(shape, dtype=dtype)


COMPLEX = torch.complex64
both = pytest.mark.parametrize("device", ["meta", "cpu"])

# (what is called, on what, its multiply-adds)
PRODUCTS: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...], int]] = {
    "mm": (torch.mm, (ones(3, 5), ones(5, 7)), 3 * 5 * 7),
    "mm out": (lambda a, b: torch.mm(a, b, out=a.new_empty(3, 7)), (ones(3, 5), ones(5, 7)), 3 * 5 * 7),
    "mv": (torch.mv, (ones(3, 5), ones(5)), 15),
    "matrix @ vector": (torch.matmul, (ones(3, 5), ones(5)), 15),
    "vector @ matrix": (torch.matmul, (ones(3), ones(3, 5)), 15),
    "dot": (torch.dot, (ones(9), ones(9)), 9),
    "vdot": (torch.vdot, (ones(9), ones(9)), 9),
    "inner": (torch.inner, (ones(2, 9), ones(4, 9)), 2 * 4 * 9),
    "addmv": (torch.addmv, (ones(3), ones(3, 5), ones(5)), 15),
    "addmv_": (lambda x, a, b: x.addmv_(a, b), (ones(3), ones(3, 5), ones(5)), 15),
    "addmm_": (lambda x, a, b: x.addmm_(a, b), (ones(3, 7), ones(3, 5), ones(5, 7)), 3 * 5 * 7),
    "baddbmm_": (lambda x, a, b: x.baddbmm_(a, b), (ones(2, 3, 7), ones(2, 3, 5), ones(2, 5, 7)), 2 * 3 * 5 * 7),
    "addbmm": (torch.addbmm, (ones(3, 7), ones(2, 3, 5), ones(2, 5, 7)), 2 * 3 * 5 * 7),
    "addbmm_": (lambda x, a, b: x.addbmm_(a, b), (ones(3, 7), ones(2, 3, 5), ones(2, 5, 7)), 2 * 3 * 5 * 7),
    "addr": (torch.addr, (ones(3, 5), ones(3), ones(5)), 15),
    "einsum of two": (lambda a, b: torch.einsum("nij,jk->nik", a, b), (ones(2, 3, 5), ones(5, 7)), 2 * 3 * 5 * 7),
    "einsum of vectors": (lambda a, b: torch.einsum("i,i->", a, b), (ones(9), ones(9)), 9),
    "bilinear": (F.bilinear, (ones(2, 5), ones(2, 7), ones(3, 5, 7)), 2 * 3 * 5 * 7 + 2 * 3 * 7),
    "tensordot": (lambda a, b: torch.tensordot(a, b, dims=1), (ones(2, 3, 5), ones(5, 7)), 2 * 3 * 5 * 7),
    "int8": (torch._int_mm, (ones(32, 16, dtype=torch.int8), ones(16, 8, dtype=torch.int8)), 32 * 16 * 8),
    "weights in int8": (
        torch._weight_int8pack_mm,
        (ones(32, 64, dtype=torch.bfloat16), ones(16, 64, dtype=torch.int8), ones(16, dtype=torch.bfloat16)),
        32 * 64 * 16,
    ),
    "weights in int4": (
        lambda x, w, scales: torch.ops.aten._weight_int4pack_mm_for_cpu(x, w, 32, scales),
        (
            ones(8, 64, dtype=torch.bfloat16),
            torch._convert_weight_to_int4pack_for_cpu(ones(32, 64, dtype=torch.int32), 1),
            ones(2, 32, 2, dtype=torch.bfloat16),
        ),
        8 * 64 * 32,
    ),
    "complex mm": (torch.mm, (ones(3, 5, dtype=COMPLEX), ones(5, 7, dtype=COMPLEX)), 4 * 3 * 5 * 7),
    "complex bmm": (torch.bmm, (ones(2, 3, 5, dtype=COMPLEX), ones(2, 5, 7, dtype=COMPLEX)), 4 * 2 * 3 * 5 * 7),
    "complex linear": (
        F.linear,
        (ones(3, 5, dtype=COMPLEX), ones(7, 5, dtype=COMPLEX), ones(7, dtype=COMPLEX)),
        4 * 3 * 5 * 7,
    ),
    "complex dot": (torch.vdot, (ones(9, dtype=COMPLEX), ones(9, dtype=COMPLEX)), 36),
    "complex convolution": (
        F.conv2d,
        (ones(2, 3, 8, 8, dtype=COMPLEX), ones(4, 3, 3, 3, dtype=COMPLEX)),
        4 * 2 * 36 * 4 * 27,
    ),
    "complex transposed convolution": (
        F.conv_transpose1d,
        (ones(2, 3, 8, dtype=COMPLEX), ones(3, 4, 2, dtype=COMPLEX)),
        4 * 2 * 8 * 3 * 4 * 2,
    ),
    "convolution in time": (F.conv_tbc, (ones(9, 2, 3), ones(3, 3, 5), ones(5)), 7 * 2 * 3 * 3 * 5),
    "grouped convolution": (
        lambda x, w: F.conv2d(x, w, groups=2),
        (ones(1, 4, 8, 8), ones(6, 2, 3, 3)),
        36 * 6 * 2 * 9,
    ),
    "transposed convolution": (
        lambda x, w: F.conv_transpose2d(x, w, stride=2),
        (ones(1, 4, 8, 8), ones(4, 6, 2, 2)),
        64 * 4 * 6 * 4,
    ),
    "transposed in place": (lambda x, w: w @ x.transpose_(0, 1), (ones(5, 6), ones(3, 6)), 3 * 6 * 5),
    "t_": (lambda x, w: w @ x.t_(), (ones(5, 6), ones(3, 6)), 3 * 6 * 5),
    "swapaxes_": (lambda x, w: w @ x.swapaxes_(0, 1), (ones(5, 6), ones(3, 6)), 3 * 6 * 5),
    "squeeze_": (lambda x, w: x.squeeze_(1) @ w, (ones(5, 1, 6), ones(6, 3)), 5 * 6 * 3),
    "unsqueeze_": (lambda x, w: x.unsqueeze_(1) @ w, (ones(5, 6), ones(6, 3)), 5 * 6 * 3),
    "as_strided_": (lambda x, w: x.as_strided_((2, 6), (6, 1)) @ w, (ones(5, 6), ones(6, 3)), 2 * 6 * 3),
    "resize_": (lambda x, w: x.resize_(2, 6) @ w, (ones(5, 6), ones(6, 3)), 2 * 6 * 3),
    "a view of what was permuted": (
        lambda x, w: (x.transpose(1, 2) * 2).transpose(1, 2).view(10, 6) @ w,
        (ones(2, 5, 6), ones(6, 3)),
        10 * 6 * 3,
    ),
}  # fmt: skip


@both
@pytest.mark.parametrize("case", PRODUCTS)
def test_products_by_hand(case: str, device: str) -> None:
    function, given, expected = PRODUCTS[case]
    bill = bill_of(function, *given, device=device)
    assert macs(bill) == expected
    assert not bill.missing


@pytest.mark.parametrize("form", ["rows", "columns", "sums", "batch"])
def test_grouped_products_by_hand(form: str) -> None:
    """Three groups; each row, column or summand belongs to one of them."""
    left, right, grouped, expected = {
        "rows": ((64, 16), (3, 16, 32), True, 64 * 16 * 32),
        "columns": ((3, 64, 16), (16, 32), True, 64 * 16 * 32),
        "sums": ((64, 16), (16, 32), True, 64 * 16 * 32),
        "batch": ((3, 64, 16), (3, 16, 32), False, 3 * 64 * 16 * 32),
    }[form]

    def product(a: Tensor, b: Tensor) -> Tensor:
        ends = torch.empty(3, dtype=torch.int32, device="meta") if grouped else None
        return F.grouped_mm(a, b.mT.contiguous().mT, offs=ends)

    bill = bill_of(product, ones(*left, dtype=torch.bfloat16), ones(*right, dtype=torch.bfloat16))
    assert macs(bill) == expected
    assert not bill.missing


def test_scaled_products_by_hand() -> None:
    def product(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
        return torch._scaled_mm(a, b.t(), scale, scale, out_dtype=torch.bfloat16)

    eight_bits = [torch.empty(32, 64, dtype=torch.float8_e4m3fn) for _ in range(2)]
    assert macs(bill_of(product, *eight_bits, ones())) == 32 * 64 * 32


@both
@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (nn.LSTM(8, 6, num_layers=2), 5 * 2 * (4 * 6 * (8 + 6) + 4 * 6 * (6 + 6))),
        (nn.LSTM(8, 6, bidirectional=True, batch_first=True), 2 * 5 * 2 * 4 * 6 * (8 + 6)),
        (nn.LSTM(8, 6, proj_size=3), 5 * 2 * (4 * 6 * (8 + 3) + 6 * 3)),
        (nn.GRU(8, 6), 5 * 2 * 3 * 6 * (8 + 6)),
        (nn.RNN(8, 6), 5 * 2 * 6 * (8 + 6)),
    ],
    ids=["LSTM", "LSTM both ways", "LSTM projected", "GRU", "RNN"],
)
def test_recurrent_layers_by_hand(part: nn.Module, expected: int, device: str) -> None:
    bill = bill_of(lambda layer, x: layer(x), ones(5, 2, 8), device=device, parts=(part,))
    assert macs(bill) == expected
    assert not bill.missing


@both
@pytest.mark.parametrize(("cell", "gates"), [(nn.LSTMCell, 4), (nn.GRUCell, 3), (nn.RNNCell, 1)])
def test_recurrent_cells_by_hand(cell: Callable[..., nn.Module], gates: int, device: str) -> None:
    bill = bill_of(lambda layer, x: layer(x), ones(2, 8), device=device, parts=(cell(8, 6),))
    assert macs(bill) == 2 * gates * 6 * (8 + 6)


# (query, key, value, further arguments, multiply-adds)
ATTENTION: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], dict[str, Any], int]] = {
    "plain": ((2, 3, 10, 8), (2, 3, 12, 8), (2, 3, 12, 6), {}, 2 * 3 * 10 * 12 * (8 + 6)),
    "no heads": ((2, 10, 8), (2, 12, 8), (2, 12, 8), {}, 2 * 10 * 12 * 16),
    "a query for three keys": ((2, 1, 10, 8), (2, 3, 12, 8), (2, 3, 12, 8), {}, 2 * 3 * 10 * 12 * 16),
    "a batch of keys": ((1, 4, 10, 8), (3, 4, 12, 8), (3, 4, 12, 8), {}, 3 * 4 * 10 * 12 * 16),
    "one key for all": ((2, 4, 10, 8), (1, 1, 12, 8), (1, 1, 12, 8), {}, 2 * 4 * 10 * 12 * 16),
    "shared heads": ((2, 4, 10, 8), (2, 2, 12, 8), (2, 2, 12, 8), {"enable_gqa": True}, 2 * 4 * 10 * 12 * 16),
}


@both
@pytest.mark.parametrize("by_name", [False, True], ids=["in order", "by name"])
@pytest.mark.parametrize("case", ATTENTION)
def test_attention_by_hand(case: str, by_name: bool, device: str) -> None:
    *shapes, further, expected = ATTENTION[case]

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if by_name:
            return F.scaled_dot_product_attention(query=query, key=key, value=value, attn_mask=None, **further)
        return F.scaled_dot_product_attention(query, key, value, **further)

    bill = bill_of(attend, *(ones(*shape) for shape in shapes), device=device)
    assert by_operator(bill) == {"attention": expected}
    seen: list[Tensor] = []
    bill_of(lambda *given: seen.append(attend(*given)), *(ones(*shape) for shape in shapes), device=device)
    real = attend(*(ones(*shape) for shape in shapes))
    assert seen[0].shape == real.shape
    assert device == "meta" or torch.equal(seen[0], real)


@both
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("wants_weights", [False, True])
def test_attention_inside_torch_s_module_is_booked_as_attention(device: str, frozen: bool, wants_weights: bool) -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval().requires_grad_(not frozen)
    given = ones(3, 5, 8), ones(3, 7, 8)
    bill = bill_of(lambda part, x, y: part(x, y, y, need_weights=wants_weights), *given, device=device, parts=(layer,))
    projections = 3 * 8 * 8 * (5 + 7 + 7 + 5)
    assert by_operator(bill) == {"attention": 3 * 5 * 7 * 16, "linear": projections}


@both
def test_an_encoder_layer_in_eval_mode_is_counted_whole(device: str) -> None:
    layer = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    bill = bill_of(lambda part, x: part(x), ones(3, 5, 8), device=device, parts=(layer,))
    assert by_operator(bill) == {"attention": 2 * 3 * 5 * 5 * 16, "linear": 2 * 3 * 5 * (4 * 64 + 2 * 8 * 16)}
    assert not bill.missing


@both
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_a_scripted_part_is_counted_whole(device: str) -> None:
    part = torch.jit.script(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 5))).to(device)
    model = Calls(lambda x: part(x))
    model.add_module("part", part)
    assert macs(trace(model, ([torch.ones(3, 5, device=device)], {}), 1)) == 3 * 2 * 5 * 6


def test_a_network_without_weights_is_counted_on_shapes_too() -> None:
    model, x = Calls(lambda x: x @ x), torch.ones(3, 3, device="meta")
    assert not trace(model, lambda: model(x), 1).real


def test_inference_mode_hides_nothing() -> None:
    @torch.inference_mode()
    def layer(x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight) @ weight

    assert macs(bill_of(layer, ones(3, 5), ones(7, 5))) == 2 * 3 * 5 * 7


POINTWISE: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "compare": (lambda x: x > 0, (ones(3, 5),)),
    "compare integers": (lambda x, y: x == y, (ones(3, 5, dtype=torch.int64), ones(5, dtype=torch.int64))),
    "not": (lambda x: ~(x > 0), (ones(3, 5),)),
    "and": (lambda x: (x > 0) & (x < 2), (ones(3, 5),)),
    "isnan": (torch.isnan, (ones(3),)),
    "logical_not": (torch.logical_not, (ones(3),)),
    "where": (lambda x: torch.where(x > 0, x, 0), (ones(3, 5),)),
    "where integers": (lambda x: torch.where(x > 0, 1, 0), (ones(3, 5),)),
    "masked_fill": (lambda x: x.masked_fill(x > 0, -1e9), (ones(3, 5, dtype=torch.bfloat16),)),
    "divide integers": (lambda x: x / 2, (ones(3, dtype=torch.int64),)),
    "floor integers": (lambda x: x // 2, (ones(3, dtype=torch.int64),)),
    "exp of integers": (torch.exp, (ones(3, dtype=torch.int64),)),
    "add a bool": (lambda x: x + (x > 0), (ones(3, dtype=torch.int64),)),
    "half and a number": (lambda x: x * 2.5, (ones(3, dtype=torch.float16),)),
    "integer and a number": (lambda x: x * 2.5, (ones(3, dtype=torch.int64),)),
    "half and a float scalar": (torch.mul, (ones(3, dtype=torch.float16), ones())),
    "half and float": (torch.mul, (ones(3, dtype=torch.float16), ones(3))),
    "bool and a number": (lambda x: (x > 0) * 2, (ones(3),)),
    "absolute complex": (torch.abs, (ones(3, dtype=COMPLEX),)),
    "three dtypes": (torch.addcmul, (ones(3), ones(3), ones(3))),
    "maximum": (torch.maximum, (ones(3, 1), ones(5))),
    "lerp": (torch.lerp, (ones(3, 5), ones(3, 5), ones(5))),
    "pow": (lambda x: 2**x, (ones(3, dtype=torch.int64),)),
    "sum of bools": (lambda x: (x > 0).sum(0), (ones(3, 5),)),
    "sum": (lambda x: x.sum(), (ones(3, 5),)),
    "mean": (lambda x: x.mean((0, 2), keepdim=True), (ones(3, 5, 2),)),
    "mean of a number": (lambda x: x.sum().mean(0), (ones(3, 5),)),
    "cat of two dtypes": (lambda x: torch.cat([x, x.long()]), (ones(3, 5),)),
    "softmax in float": (lambda x: x.softmax(-1, dtype=torch.float32), (ones(3, 5, dtype=torch.bfloat16),)),
    "rows by number": (lambda x: x[torch.zeros(2, 2, dtype=torch.int64, device=x.device)], (ones(3, 5),)),
    "columns by number": (lambda x: x[:, [0, 2, 2]], (ones(3, 5),)),
    "fill by mask": (lambda x: x.index_put((x > 0,), x.new_zeros(())), (ones(3, 5),)),
    "group norm": (lambda x: F.group_norm(x, 2), (ones(3, 4, 5),)),
    "batch norm": (lambda x: F.batch_norm(x, None, None, training=True), (ones(3, 4, 5),)),
    "dilated convolution": (
        lambda x, w: F.conv2d(x, w, stride=(2, 1), padding=(3, 1), dilation=(2, 1)),
        (ones(2, 3, 9, 7), ones(4, 3, 3, 2)),
    ),
    "one-dimensional convolution": (lambda x, w: F.conv1d(x, w, padding="same"), (ones(2, 3, 9), ones(4, 3, 3))),
    "unbatched convolution": (F.conv2d, (ones(3, 9, 7), ones(4, 3, 3, 2))),
    "embedding": (lambda w: F.embedding(w.new_zeros(2, 3, dtype=torch.int64), w), (ones(4, 5),)),
    "noise": (lambda x: torch.randn(2, 3, device=x.device), (ones(1),)),
    "noise in half": (lambda x: torch.rand(2, 3, dtype=torch.float16, device=x.device), (ones(1),)),
    "noise like": (lambda x: torch.randn_like(x.mT, dtype=torch.float64), (ones(3, 5),)),
    "ones like": (lambda x: torch.ones_like(x, dtype=torch.bool), (ones(3, 5),)),
    "repeat": (lambda x: x.repeat(2, 1, 3), (ones(3, 5),)),
    "index_select": (lambda x: x.index_select(-1, x.new_zeros(2, dtype=torch.int64)), (ones(3, 5),)),
    "permuted": (lambda x, y: x.permute(2, 0, 1) + y.permute(2, 0, 1), (ones(3, 5, 2), ones(3, 5, 2))),
    "a slice": (lambda x: x.chunk(2, -1)[0] * 2, (ones(3, 5, 4),)),
    "a permuted slice": (lambda x, y: y + x.chunk(2, -1)[1].permute(2, 0, 1), (ones(3, 5, 4), ones(5))),
    "expanded": (lambda x, y: x.expand(3, 5) * y.T, (ones(5), ones(5, 3))),
    "sorted": (lambda x: x.argsort(-1), (ones(3, 5),)),
    "vector norm": (lambda x: torch.linalg.vector_norm(x, dim=-1), (ones(3, 5),)),
}  # fmt: skip


@pytest.mark.parametrize("case", POINTWISE)
def test_shapes_and_types_are_those_of_real_tensors(case: str) -> None:
    function, given = POINTWISE[case]
    real = function(*given)
    seen: list[Tensor] = []
    bill_of(lambda *shapes: seen.append(function(*shapes)), *given)
    assert seen[0].is_meta
    assert (seen[0].shape, seen[0].dtype, seen[0].stride()) == (real.shape, real.dtype, real.stride())


MISTAKES: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
    "linear": (F.linear, (ones(3, 5), ones(7, 6), ones(7))),
    "matrices": (torch.mm, (ones(3, 5), ones(6, 7))),
    "batches": (torch.bmm, (ones(3, 5, 6), ones(2, 6, 7))),
    "a sum in place": (lambda x, y: x.add_(y), (ones(3, 1), ones(3, 5))),
    "a sum": (torch.add, (ones(3, 4), ones(3, 5))),
    "a row of parts": (lambda x, y: torch.cat([x, y]), (ones(3, 4), ones(3, 5))),
    "norm": (lambda x: F.layer_norm(x, (4,)), (ones(3, 5),)),
    "convolution": (F.conv2d, (ones(1, 3, 5, 5), ones(4, 2, 3, 3))),
    "attention": (F.scaled_dot_product_attention, (ones(2, 5, 8), ones(2, 7, 6), ones(2, 7, 6))),
}


@both
@pytest.mark.parametrize("case", MISTAKES)
def test_what_torch_refuses_is_not_billed(case: str, device: str) -> None:
    function, given = MISTAKES[case]
    with pytest.raises(RuntimeError):
        bill_of(function, *given, device=device)


class Router(nn.Module):
    """Each token goes to one of four experts."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 4)
        self.experts = nn.ModuleList(nn.Linear(16, 256) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        chosen = self.gate(x).argmax(-1)
        out = x.new_zeros(x.shape[0], 256)
        for number, expert in enumerate(self.experts):
            out[chosen == number] = expert(x[chosen == number])
        return out


def test_a_router_needs_values_and_is_exact_with_them() -> None:
    with shapes_only():
        model = Router()
    with pytest.raises(NeedsValuesError, match="--real"):
        trace(model, {"x": torch.empty(100, 16, device="meta")}, 1)
    bill = trace(Router(), {"x": torch.randn(100, 16)}, 1)
    assert macs(bill) == 100 * 16 * 4 + 100 * 16 * 256
    assert bill.counted_on == 1


ASKS: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "if": lambda x: 1 if (x > 0).all() else 0,
    "int": lambda x: torch.zeros(int(x.sum())),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "equal": lambda x: torch.equal(x, x),
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "masked_select": lambda x: x.masked_select(x > 0),
    "a mask": lambda x: x[x > 0],
    "a mask in a later place": lambda x: x[:, x[0] > 0],
    "unique": lambda x: x.unique(),
    "bincount": lambda x: x.flatten().long().bincount(),
    "repeat_interleave": lambda x: x.repeat_interleave(x[:, 0].long(), 0),
    "one_hot": lambda x: F.one_hot(x.long()),
}


@pytest.mark.parametrize("case", ASKS)
def test_what_depends_on_values_is_said_in_one_sentence(case: str) -> None:
    with pytest.raises(NeedsValuesError, match="depends on the values"):
        bill_of(ASKS[case], ones(3, 5))
    bill_of(ASKS[case], ones(3, 5), device="cpu")


def test_what_has_no_values_has_none_anywhere() -> None:
    assert macs(bill_of(lambda x, y: x.cpu().to(torch.float64) @ y.double(), ones(3, 5), ones(5, 7))) == 105


def test_a_network_whose_constructor_asks_for_values_is_built() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, int(width)) for width in torch.linspace(4, 8, 3).tolist())

    model: Any = build(Deep)
    assert [layer.out_features for layer in model.layers] == [4, 6, 8]
    assert all(p.is_meta for p in model.parameters())


def test_constants_made_on_the_way_keep_their_values() -> None:
    def network(x: Tensor) -> Tensor:
        for scale in (torch.arange(3) * 0.5 + 1).tolist():
            x = x * scale
        return x @ torch.eye(5)[: int(torch.tensor(2.0) + 3)]

    assert macs(bill_of(network, ones(3, 5))) == 3 * 5 * 5


@pytest.mark.parametrize("name", ["dit-s8", "dimsum-digits"])
def test_training_makes_the_same_products(name: str) -> None:
    preset = presets.find(name)
    with shapes_only():
        model = example.built(preset)
    inputs = example.inputs(model, 2, "meta")
    assert by_operator(trace(model.train(), inputs, 2)) == by_operator(trace(model.eval(), inputs, 2))


@both
def test_products_without_a_formula_are_a_class_of_their_own(device: str) -> None:
    bill = bill_of(lambda x: torch.cdist(x, x).exp() @ torch.linalg.inv(x), 5 * torch.eye(5), device=device)
    assert bill.missing == {"cdist_forward": (1, 25), "linalg_inv_ex": (1, 25)}
    many = bill_of(lambda x: torch.cdist(x, x), torch.ones(30, 5), device=device)  # which torch multiplies out
    assert many.missing == {"euclidean_dist": (1, 900)}
    assert set(bill.uncounted) == {"exp"}
    assert macs(bill) == 125


def test_an_operator_that_torch_does_not_know_may_be_a_product() -> None:
    @torch.library.custom_op("dimbench_test::scan", mutates_args=())
    def scan(x: Tensor) -> Tensor:
        return x.clone()

    scan.register_fake(torch.empty_like)
    assert bill_of(scan, ones(3, 5)).missing == {"dimbench_test::scan": (1, 15)}


def test_transforms_gates_and_samplers_are_no_products() -> None:
    def network(x: Tensor) -> Tensor:
        x = torch.fft.fft2(x).abs() + F.interpolate(x, scale_factor=1.0, mode="bilinear")
        return torch.lgamma(x).cummax(-1)[0] + torch.outer(x[0, 0, 0], x[0, 0, 1])

    bill = bill_of(network, ones(1, 1, 8, 8))
    assert not bill.missing
    assert macs(bill) == 0
    assert {"fft_c2c", "upsample_bilinear2d", "lgamma", "mul"} <= set(bill.uncounted) | {"fft_c2c"}
    assert any("fft" in name for name in bill.uncounted)


@both
def test_two_operators_in_one_pass_are_booked_as_two(device: str) -> None:
    x = torch.ones(3, 4)
    apart = bill_of(lambda x: x + x[0] * x + x / x, x, device=device)
    at_once = bill_of(lambda x: torch.addcdiv(torch.addcmul(x, x[0], x), x, x), x, device=device)
    assert at_once.uncounted == apart.uncounted == {"mul": (1, 12), "add": (2, 24), "div": (1, 12)}


def test_the_rule_says_how_complex_numbers_count() -> None:
    assert "four" in RULES["macs"].says


def test_every_operator_that_torch_has_a_formula_for_is_a_product() -> None:
    from torch.utils.flop_counter import flop_registry

    operators = [packet for packet in flop_registry if str(packet).startswith("aten.")]
    assert len(operators) > 10
    assert all(products.multiplies(getattr(packet, packet.overloads()[0])) for packet in operators)


@pytest.mark.parametrize("function", [F.conv2d, F.conv_transpose2d])
def test_formulas_of_ours_are_those_of_torch(function: Callable[..., Tensor]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    def call() -> None:
        x, kernel = torch.ones(2, 6, 9, 8), torch.ones(6, 2, 3, 3)
        function(x, kernel.reshape(6, 2, 3, 3), stride=2, padding=1, groups=3)
        rows = torch.ones(2, 5, 4) @ torch.ones(2, 4, 3)
        torch.addmm(torch.ones(3), torch.baddbmm(rows, torch.ones(2, 5, 7), torch.ones(2, 7, 3))[0], torch.ones(3, 3))

    with FlopCounterMode(display=False) as theirs:
        call()
    assert RULES["macs"].macs(trace(nn.Identity(), call, 1)) == theirs.get_total_flops() // 2
