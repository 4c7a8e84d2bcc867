from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dimbench.kernels import backends
from dimbench.kernels.haar import backends as haar_backends
from dimbench.kernels.haar import haar, haar_inverse, haar_tokens, haar_tokens_inverse
from tests.kernels.scan_cases import relative_error, scattered, sliced

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


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.usefixtures("nan_in_new_memory")
class TestTransform:
    def test_agrees_with_pywavelets(self, levels: int) -> None:
        x = _image(2, 3, 16, 8)
        assert np.abs(haar(x, levels).numpy() - _pywavelets(x.numpy(), levels)).max() < FLOAT64

    def test_inverse_gives_the_image_back(self, levels: int) -> None:
        x = _image(2, 3, 16, 8)
        assert (haar_inverse(haar(x, levels), levels) - x).abs().max() < FLOAT64

    def test_keeps_the_norm(self, levels: int) -> None:
        x, bands = _image(2, 3, 16, 8), _image(2, 64, 2, 3)
        assert abs(haar(x, levels).norm() / x.norm() - 1) < FLOAT64
        assert abs(haar_inverse(bands, levels).norm() / bands.norm() - 1) < FLOAT64

    def test_gradients(self, levels: int) -> None:
        assert torch.autograd.gradcheck(lambda x: haar(x, levels), _image(1, 2, 8, 8).requires_grad_())
        assert torch.autograd.gradcheck(lambda x: haar_inverse(x, levels), _image(1, 64, 1, 2).requires_grad_())


def _places(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("name", haar_backends.names)
@pytest.mark.parametrize(("batch", "channels"), [(1, 1), (3, 20), (1, 33)])
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.usefixtures("nan_in_new_memory")
class TestBackends:
    """In float32 and bfloat16 against the reference in float64."""

    def test_images(self, name: str, batch: int, channels: int, levels: int) -> None:
        x, bands = _image(batch, channels, 16, 8), _image(batch, channels * 4**levels, 2, 3)
        with backends.use(name):
            ours, back = haar(x.float(), levels), haar_inverse(bands.float(), levels)
        assert relative_error(ours, haar(x, levels)) < FLOAT32
        assert relative_error(back, haar_inverse(bands, levels)) < FLOAT32

    def test_tokens(self, name: str, batch: int, channels: int, levels: int) -> None:
        x, places = _image(batch, 64, channels), _places(64)
        with backends.use(name):
            ours, back = haar_tokens(x.float(), places, levels, 0.3), haar_tokens_inverse(x.float(), places, levels, 3)
        assert relative_error(ours, haar_tokens(x, places, levels, 0.3)) < FLOAT32
        assert relative_error(back, haar_tokens_inverse(x, places, levels, 3)) < FLOAT32


@pytest.mark.parametrize("name", haar_backends.names)
def test_memory_may_lie_in_any_order(name: str) -> None:
    x, tokens, places = _image(2, 8, 12, 6).float(), _image(2, 9 * 4, 8).float(), _places(36)
    with backends.use(name):
        for spread in (sliced, scattered, lambda t: t.transpose(1, 2).contiguous().transpose(1, 2)):
            assert relative_error(haar(spread(x)), haar(x)) < FLOAT32
            assert relative_error(haar_inverse(spread(x)), haar_inverse(x)) < FLOAT32
            assert relative_error(haar_tokens(spread(tokens), places, 1), haar_tokens(tokens, places, 1)) < FLOAT32
            back = haar_tokens_inverse(spread(tokens), places, 1)
            assert relative_error(back, haar_tokens_inverse(tokens, places, 1)) < FLOAT32


def test_bfloat16_is_rounded_once() -> None:
    x, places = _image(2, 64, 24).bfloat16(), _places(64)
    with backends.use("cpu"):
        for function in (haar_tokens, haar_tokens_inverse):
            assert torch.equal(function(x, places, 2, 0.7), function(x.float(), places, 2, 0.7).bfloat16())


@pytest.mark.parametrize("levels", [1, 2])
def test_tokens_are_the_transform_laid_out_on_tiles(levels: int) -> None:
    """Against the formula of the layout, element by element."""
    side, channels, factor = 8, 3, 2**levels
    x, places = _image(1, side**2, channels), _places(side**2)
    bands = haar(x.unflatten(1, (side, side)).permute(0, 3, 1, 2), levels)[0]
    ours = haar_tokens(x, places, levels, 2.0)[0]
    for band in range(4**levels):
        digits = [band // 4**level % 4 for level in range(levels)]  # the last level first
        slowest_last = sum(digit * 4 ** (levels - 1 - place) for place, digit in enumerate(digits))
        for channel in range(channels):
            n = band * channels + channel
            for i in range(side // factor):
                for j in range(side // factor):
                    token = (factor * i + n % factor**2 // factor) * side + factor * j + n % factor
                    wanted = 2 * bands[slowest_last * channels + channel, i, j]
                    assert ours[places[token], n // factor**2].item() == pytest.approx(wanted.item(), abs=FLOAT64)


def test_gradients_of_tokens() -> None:
    places = _places(16)
    for function in (haar_tokens, haar_tokens_inverse):
        x = _image(1, 16, 3).requires_grad_()
        assert torch.autograd.gradcheck(lambda x, function=function: function(x, places, 2, 0.7), x)


def test_tokens_that_form_no_grid_are_named() -> None:
    for shape, places, levels in (((1, 15, 2), 15, 1), ((1, 36, 2), 36, 2), ((1, 16, 2), 15, 1), ((16, 2), 16, 1)):
        for function in (haar_tokens, haar_tokens_inverse):
            with pytest.raises(
                ValueError, match=rf"{function.__name__} got tokens of shape .*divisible by {2**levels}"
            ):
                function(torch.zeros(shape), torch.arange(places), levels)


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
    for operator in (torch.ops.dimbench.haar_tokens, torch.ops.dimbench.haar_tokens_inverse):
        torch.library.opcheck(operator.default, (_image(1, 16, 3).requires_grad_(), torch.arange(16), 2, 0.7))


def test_flops_are_those_of_the_convolution() -> None:
    with FlopCounterMode(display=False) as counter:
        bands = haar(torch.empty(2, 3, 8, 8, device="meta"), 2)
        haar_inverse(bands, 1)
        haar_tokens_inverse(torch.empty(2, 64, 3, device="meta"), torch.empty(64, device="meta"), 2)
    assert counter.get_total_flops() == 2 * 4 * (2 * 3 * 8 * 8) * (2 + 1 + 2)
