"""Linear layers by oneDNN beside torch's in float64, and when torch's own serve."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from dimbench.kernels import onednn
from dimbench.models.udit import Pointwise

pytestmark = pytest.mark.skipif(not onednn.AVAILABLE, reason="this torch was built without oneDNN")


def operators(run) -> set[str]:
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run()
    return {event.key for event in seen.key_averages()}


@pytest.fixture(autouse=True)
def by_onednn_however_few(monkeypatch):
    monkeypatch.setattr(onednn, "FEWEST", 0)


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 1, 1), (33, 2048, 17), (0, 4, 3), (3, 4, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_is_that_of_float64(shape, bias):
    n, d, m = shape
    # Columns of wider matrices, as a caller may pass: rows that do not lie side by side.
    x, weight = torch.randn(2, n, d + 2)[..., 1:-1], torch.randn(m, 2 * d)[:, ::2]
    b = torch.randn(m) if bias else None

    found = onednn.linear(x, weight, b)

    assert found.shape == (2, n, m)
    assert found.dtype == torch.float32
    exact = functional.linear(x.double(), weight.double(), b.double() if bias else None)
    terms = functional.linear(x.double().abs(), weight.double().abs(), b.double().abs() if bias else None)
    assert ((found - exact).abs() <= (d + 1) * 2**-24 * terms).all()  # Higham 2002, eq. 3.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_torch_multiplies_what_is_not_float32(dtype):
    x, weight = torch.randn(4, 8, dtype=dtype), torch.randn(6, 8, dtype=dtype)

    found = onednn.linear(x, weight)

    assert found.dtype == dtype
    assert ("mkldnn::_linear_pointwise" in operators(lambda: onednn.linear(x, weight))) == (dtype == torch.float32)


def test_gradients_are_those_of_torch():
    layer, x = nn.Linear(8, 6), torch.randn(4, 8)
    layer(x).square().sum().backward()
    wanted, layer.weight.grad = layer.weight.grad, None

    onednn.linear(x, layer.weight, layer.bias).square().sum().backward()

    assert torch.equal(layer.weight.grad, wanted)


def test_autocast_keeps_its_numbers():
    x, weight = torch.randn(4, 8), torch.randn(6, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert onednn.linear(x, weight).dtype == torch.bfloat16


def test_a_tensor_class_of_others_is_left_to_them():
    class Quantised(torch.Tensor):
        pass

    x, weight = torch.randn(4, 8), torch.randn(6, 8).as_subclass(Quantised)
    assert type(onednn.linear(x, weight)) is Quantised


def test_small_products_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(onednn, "FEWEST", 4 * 8 * 6 + 1)
    x = torch.randn(4, 8)
    assert "mkldnn::_linear_pointwise" not in operators(lambda: onednn.linear(x, torch.randn(6, 8)))
    assert "mkldnn::_linear_pointwise" in operators(lambda: onednn.linear(x, torch.randn(7, 8)))


def test_layers_of_any_network_compute_by_it_inside_and_as_before_afterwards():
    network, x = nn.Sequential(nn.Linear(8, 6), nn.GELU(), nn.Linear(6, 4)), torch.randn(5, 8)
    pointwise, image = Pointwise(8, 6), torch.randn(1, 8, 4, 4)
    with torch.inference_mode():
        plain = network(x)
        with onednn.linear_layers():
            assert "mkldnn::_linear_pointwise" in operators(lambda: network(x))
            assert "mkldnn::_linear_pointwise" in operators(lambda: pointwise(image))
            assert torch.allclose(network(x), plain, atol=1e-6)
            compiled = torch.compile(network, backend="eager")
            assert "mkldnn::_linear_pointwise" not in operators(lambda: compiled(x))
        assert "mkldnn::_linear_pointwise" not in operators(lambda: network(x))


@pytest.mark.parametrize("form", ["tanh", "none"])
def test_a_gelu_behind_a_layer_is_made_with_it(form):
    layer, x = nn.Linear(8, 6), 3 * torch.randn(5, 8)
    with torch.inference_mode():
        exact = functional.gelu(layer.double()(x.double()), approximate=form)
        layer.float()
        assert "aten::gelu" in operators(lambda: onednn.gelu_of(layer, x, form)), "outside"
        with onednn.linear_layers():
            assert "aten::gelu" not in operators(lambda: onednn.gelu_of(layer, x, form))
            assert torch.allclose(onednn.gelu_of(layer, x, form).double(), exact, atol=1e-6)


@pytest.mark.parametrize("how", ["watched", "watched before", "replaced", "a class of its own"])
def test_what_happens_to_a_layer_happens_before_its_gelu(how, monkeypatch):
    class Zeros(nn.Linear):
        def forward(self, x):
            return torch.zeros(len(x), 6)

    layer, x, seen = Zeros(8, 6) if how == "a class of its own" else nn.Linear(8, 6), torch.randn(5, 8), []
    if how == "replaced":
        monkeypatch.setattr(layer, "forward", lambda x: torch.zeros(len(x), 6))
    if how == "watched":
        layer.register_forward_hook(lambda *_: seen.append("here"))
    if how == "watched before":
        layer.register_forward_pre_hook(lambda *_: seen.append("here"))
    with torch.inference_mode(), onednn.linear_layers():
        found = onednn.gelu_of(layer, x, "tanh")
    assert seen == ["here"] if "watched" in how else not found.any()


def test_samples_are_drawn_by_it(tmp_path):
    import dimbench

    drawn = operators(lambda: dimbench.sample("dit-digits", num_images=4, steps=2, to=tmp_path / "a.npz"))
    assert "mkldnn::_linear_pointwise" in drawn
