from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dimbench.kernels import backends
from dimbench.kernels.haar import backends as haar_backends
from dimbench.kernels.haar import haar, haar_inverse

FLOAT64 = 1e-14  # a few roundings
FLOAT32 = 5e-7


def _image(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def _pywavelets(x: np.ndarray, levels: int) -> np.ndarray:
    """PyWavelets' bands as channels. Its horizontal detail cH is the difference between rows, which others call LH."""
    for _ in range(levels):
        low, (horizontal, vertical, diagonal) = pywt.dwt2(x, "haar")
        x = np.concatenate([low, horizontal, vertical, diagonal], axis=1)
    return x


@pytest.mark.parametrize("name", haar_backends.names)
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.usefixtures("nan_in_new_memory")
class TestTransform:
    def test_agrees_with_pywavelets(self, name: str, levels: int) -> None:
        x = _image(2, 3, 16, 8)
        with backends.use(name):
            assert np.abs(haar(x, levels).numpy() - _pywavelets(x.numpy(), levels)).max() < FLOAT64
            in_float32 = haar(x.float(), levels).numpy()
        assert np.abs(in_float32 - _pywavelets(x.numpy(), levels)).max() < FLOAT32 * 2**levels

    def test_inverse_gives_the_image_back(self, name: str, levels: int) -> None:
        x = _image(2, 3, 16, 8)
        with backends.use(name):
            assert (haar_inverse(haar(x, levels), levels) - x).abs().max() < FLOAT64

    def test_keeps_the_norm(self, name: str, levels: int) -> None:
        x = _image(2, 3, 16, 8)
        with backends.use(name):
            assert abs(haar(x, levels).norm() / x.norm() - 1) < FLOAT64
            bands = _image(2, 64, 2, 3)
            assert abs(haar_inverse(bands, levels).norm() / bands.norm() - 1) < FLOAT64

    def test_gradients(self, name: str, levels: int) -> None:
        with backends.use(name):
            assert torch.autograd.gradcheck(lambda x: haar(x, levels), _image(1, 2, 8, 8).requires_grad_())
            assert torch.autograd.gradcheck(lambda x: haar_inverse(x, levels), _image(1, 64, 1, 2).requires_grad_())


def test_the_bands_stand_in_their_order() -> None:
    cell = torch.tensor([[[[1.0, 2.0], [4.0, 8.0]]]])
    low, top_less_bottom, left_less_right, diagonal = haar(cell).flatten().tolist()
    assert (low, top_less_bottom, left_less_right, diagonal) == (7.5, -4.5, -2.5, 1.5)


@pytest.mark.parametrize(("shape", "levels"), [((1, 1, 3, 4), 1), ((1, 1, 4, 6), 2), ((4, 4), 1), ((1, 1, 4, 4), 0)])
def test_sizes_that_do_not_divide_are_named(shape: tuple[int, ...], levels: int) -> None:
    with pytest.raises(ValueError, match=rf"haar got a tensor of shape .*{shape[-1]}\).*divisible by {2**levels}"):
        haar(torch.zeros(shape), levels)


def test_bands_that_do_not_divide_are_named() -> None:
    with pytest.raises(ValueError, match=r"haar_inverse got .*\(1, 8, 2, 2\).*divisible by 16"):
        haar_inverse(torch.zeros(1, 8, 2, 2), 2)


def test_operators_hold_torchs_contract() -> None:
    torch.library.opcheck(torch.ops.dimbench.haar.default, (_image(1, 2, 4, 4).requires_grad_(), 2))
    torch.library.opcheck(torch.ops.dimbench.haar_inverse.default, (_image(1, 16, 2, 2).requires_grad_(), 2))


def test_flops_are_those_of_the_convolution() -> None:
    with FlopCounterMode(display=False) as counter:
        bands = haar(torch.empty(2, 3, 8, 8, device="meta"), 2)
        haar_inverse(bands, 1)
    assert counter.get_total_flops() == 2 * 4 * (2 * 3 * 8 * 8) * (2 + 1)
