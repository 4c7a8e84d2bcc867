"""Linear layers by oneDNN beside torch's in float64, and when torch's own serve."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from dimbench.kernels import onednn
from dimbench.layers.adaln import VectorNetwork
from dimbench.layers.mlp import GatedMlp, Mlp, SwiGlu
from dimbench.models.udit import Pointwise

pytestmark = pytest.mark.skipif(not onednn.AVAILABLE, reason="this torch was built without oneDNN")


def operators(run) -> set[str]:
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run()
    return {event.key for event in seen.key_averages()}


@pytest.fixture(autouse=True)
def by_onednn_however_few_on_every_processor(monkeypatch):
    monkeypatch.setattr(onednn, "FEWEST", 0)
    monkeypatch.setattr(onednn, "MKL_IS_GENERIC", True)


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


@pytest.mark.parametrize("generic", [True, False])
def test_an_mkl_that_knows_the_processor_multiplies(generic, monkeypatch):
    monkeypatch.setattr(onednn, "MKL_IS_GENERIC", generic)
    monkeypatch.setattr(onednn, "FEWEST_WEIGHTS", 0)
    x, y, layer = torch.randn(5, 8), torch.randn(7, 8), nn.Linear(8, 6)
    with torch.no_grad():
        for run in (lambda: onednn.product(x, y), lambda: onednn.of_few_rows(layer, x)):
            assert ("mkldnn::_linear_pointwise" in operators(run)) == generic
    assert torch.allclose(onednn.product(x, y), x @ y.T, rtol=1e-5, atol=1e-5)


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
    with torch.inference_mode():
        plain = network(x)
        with onednn.linear_layers():
            assert "mkldnn::_linear_pointwise" in operators(lambda: network(x))
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
        assert "aten::gelu_" in operators(lambda: onednn.gelu_of(layer, x, form)), "outside"
        assert torch.allclose(onednn.gelu_of(layer, x, form).double(), exact, atol=1e-6)
        with onednn.linear_layers():
            assert not {"aten::gelu", "aten::gelu_"} & operators(lambda: onednn.gelu_of(layer, x, form))
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


def test_what_others_keep_of_a_layer_is_not_changed_in_place():
    layer, kept = nn.Linear(8, 6), []
    layer.register_forward_hook(lambda _, given, output: kept.append(output))
    with torch.inference_mode():
        found = onednn.gelu_of(layer, torch.randn(5, 8), "tanh")
        assert torch.equal(functional.gelu(kept[0], approximate="tanh"), found)


@pytest.mark.parametrize("rows", [1, 8, 9])
def test_a_layer_of_few_rows_reads_its_weights_by_it(rows, monkeypatch):
    monkeypatch.setattr(onednn, "FEWEST_WEIGHTS", 8 * 6)
    network, x = VectorNetwork(nn.SiLU(), nn.Linear(8, 6)), torch.randn(rows, 8)
    exact = network.double()(x.double())
    network.float()
    with torch.inference_mode():
        assert ("mkldnn::_linear_pointwise" in operators(lambda: network(x))) == (rows <= 8)
        assert torch.allclose(network(x).double(), exact, atol=1e-6)
        found = onednn.linear_of_few_rows(functional.silu(x), network[1].weight, network[1].bias)
        assert torch.equal(found, network(x))
        monkeypatch.setattr(onednn, "FEWEST_WEIGHTS", 8 * 6 + 1)
        assert "mkldnn::_linear_pointwise" not in operators(lambda: network(x))


def test_a_layer_of_few_rows_that_is_watched_is_called(monkeypatch):
    monkeypatch.setattr(onednn, "FEWEST_WEIGHTS", 0)
    network, seen = VectorNetwork(nn.Linear(8, 6)), []
    network[0].register_forward_hook(lambda *_: seen.append("here"))
    with torch.inference_mode():
        network(torch.randn(1, 8))
    assert seen == ["here"]


@pytest.mark.parametrize("watcher", ["modules", "operators", "tracing", "replaced"])
def test_who_counts_operators_sees_those_of_torch(watcher, monkeypatch):
    from torch.nn.modules.module import register_module_forward_hook
    from torch.utils.flop_counter import FlopCounterMode

    monkeypatch.setattr(onednn, "FEWEST_WEIGHTS", 0)
    network, x, seen = VectorNetwork(nn.Linear(8, 6)), torch.randn(1, 8), []
    with torch.inference_mode():
        if watcher == "modules":
            handle = register_module_forward_hook(lambda module, *_: seen.append(type(module)))
            network(x)
            handle.remove()
            assert seen == [nn.Linear, VectorNetwork]
        elif watcher == "operators":
            with FlopCounterMode(display=False) as counter:
                network(x)
            assert counter.get_total_flops() == 2 * 8 * 6
        elif watcher == "tracing":
            assert "aten::linear" in str(torch.jit.trace(network, x).inlined_graph)
        else:
            monkeypatch.setattr(
                functional, "linear", lambda *given: seen.append(given) or torch.zeros(*given[0].shape[:-1], 6)
            )
            assert not network(x).any()
            assert not Pointwise(8, 6)(torch.randn(1, 8, 1, 1)).any()
            assert len(seen) == 2


@pytest.mark.parametrize("network", [VectorNetwork(nn.SiLU(), nn.Linear(8, 6)), Mlp(8, 6), SwiGlu(8, 6)])
def test_a_tangent_goes_through(network, monkeypatch):
    monkeypatch.setattr(onednn, "FEWEST_WEIGHTS", 0)
    x, v = torch.randn(2, 1, 8)
    with torch.no_grad(), onednn.linear_layers():
        _, found = torch.func.jvp(network, (x,), (v,))
        with forward_ad.dual_level():
            dual = forward_ad.unpack_dual(network(forward_ad.make_dual(x, v))).tangent
        step = 1e-6
        network.double()
        plus, minus = (network(x.double() + way * step * v.double()) for way in (1, -1))
        network.float()
    assert torch.allclose(found, dual)
    assert torch.allclose(found.double(), (plus - minus) / (2 * step), atol=1e-5)  # of numbers near 1 in float32


@pytest.mark.parametrize("bias", [True, False])
def test_halves_are_those_of_the_whole(bias):
    layer, x = nn.Linear(8, 6, bias=bias), torch.randn(2, 5, 8)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            found = onednn.halves_of(layer, x)
            assert found[0].requires_grad == grad
            assert torch.allclose(torch.cat(found, dim=-1), layer(x), atol=1e-6)


@pytest.mark.parametrize("kind", [GatedMlp, SwiGlu])
def test_a_gate_in_place_of_its_half_gives_the_same(kind):
    network, x = kind(8, 6), torch.randn(2, 5, 8)
    with_gradient = network(x)
    assert with_gradient.requires_grad
    with torch.inference_mode():
        assert torch.allclose(network(x), with_gradient, atol=1e-6)


def test_a_pointwise_convolution_is_made_by_it_as_torch_makes_convolutions():
    conv, x = Pointwise(8, 6), torch.randn(2, 8, 4, 4)
    exact = functional.conv2d(x.double(), conv.weight.double(), conv.bias.double())
    with torch.inference_mode():
        assert "mkldnn::_linear_pointwise" in operators(lambda: conv(x))
        assert torch.allclose(conv(x).double(), exact, atol=1e-6)


def test_samples_are_drawn_by_it(tmp_path):
    import dimbench

    drawn = operators(lambda: dimbench.sample("dit-digits", num_images=4, steps=2, to=tmp_path / "a.npz"))
    assert "mkldnn::_linear_pointwise" in drawn
