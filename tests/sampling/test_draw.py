from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import dimbench
from dimbench.data.pixels import to_uint8
from dimbench.diffusion.process import Gaussian, Process, Transport
from dimbench.diffusion.transport import GVP, Linear
from dimbench.errors import DimbenchError, UsageError
from dimbench.sampling import draw, grid
from dimbench.sampling.draw import ImageNoise, Settings

SMALL = {"hidden_size": 32, "depth": 1, "num_heads": 2}


def network(name: str = "dit-digits") -> torch.nn.Module:
    """A small network whose output is not zero."""
    model = dimbench.create_model(name, **SMALL)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def images(model: torch.nn.Module, process: Process, settings: Settings, rows: range = range(11)) -> torch.Tensor:
    return draw.draw(model, process, rows, [k % 10 for k in rows], settings, shape=(1, 8, 8))[0]


@pytest.mark.parametrize(
    ("name", "process", "sampler"),
    [
        ("dit-digits", Gaussian(), "ddpm"),
        ("dit-digits", Gaussian(), "ddim"),
        ("sit-digits", Transport(Linear(), "velocity"), "heun2"),
        ("sit-digits", Transport(GVP(), "velocity"), "sde-euler"),
    ],
)
@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_images_do_not_depend_on_the_batch(name: str, process: Process, sampler: str, cfg: float) -> None:
    model = network(name)
    settings = Settings(sampler, 6, cfg, seed=3, null_label=10)
    whole = images(model, process, settings)
    for rows in (range(1), range(4, 8), range(7, 11)):
        # matrix products of other sizes sum in another order: rounding, grown over six steps
        assert torch.allclose(images(model, process, settings, rows), whole[rows.start : rows.stop], atol=2e-4)
    other = images(model, process, Settings(sampler, 6, cfg, seed=4, null_label=10))
    assert not torch.allclose(other, whole, atol=0.1)


def test_guidance_of_one_half_is_that_of_the_stacked_batch() -> None:
    """The official loop carries both halves along; only the first is kept and only it is used."""
    from dimbench.diffusion.gaussian import ddpm
    from dimbench.diffusion.guidance import guided
    from dimbench.diffusion.schedules import schedule

    model = network()
    settings = Settings("ddpm", 5, 1.5, seed=0, guided_channels=0, null_label=10)
    ours = images(model, Gaussian(), settings)
    noise = ImageNoise(0, range(11))
    z = noise(-1, (11, 1, 8, 8))
    y = torch.tensor([k % 10 for k in range(11)] + [10] * 11)
    pair = guided(model, 1.5, None)
    with torch.no_grad():
        official = ddpm(
            lambda x, t: pair(x, t, y),
            torch.cat([z, z]),
            schedule("5"),
            lambda k, shape: noise(k, (11, *shape[1:])).repeat(2, 1, 1, 1),
        )[:11]
    assert torch.allclose(ours, official, atol=1e-4)


def test_noise_of_an_image_is_normal_and_its_own() -> None:
    noise = ImageNoise(7, range(400))
    first = noise(-1, (400, 1, 8, 8))
    assert first.mean().item() == pytest.approx(0, abs=0.025)  # 4 standard errors of 25,600 draws
    assert first.std().item() == pytest.approx(1, abs=0.02)
    assert len({tuple(image.flatten().tolist()) for image in first}) == 400
    assert torch.equal(ImageNoise(7, [399])(-1, (1, 1, 8, 8))[0], first[399])
    assert not torch.equal(noise(0, (400, 1, 8, 8)), first)


def test_seeds_of_neighbours_differ() -> None:
    seeds = {draw.mixed(seed, index) for seed in range(100) for index in range(100)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("settings", "labels", "words"),
    [
        (Settings("ddpm", 0), [0], "0"),
        (Settings("ddpm", 2000), [0], "2000"),
        (Settings("euler", 50), [0], "unknown sampler 'euler'"),
        (Settings("ddpm", 50), [3, 11], "label 11 is out of range"),
        (Settings("ddpm", 50, null_label=10), [-1], "from 0 to 10"),
        (Settings("ddpm", 50, cfg=0.5, null_label=10), [0], "guidance 0.5"),
        (Settings("ddpm", 50, cfg=2.0), [0], "cannot be guided"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: Settings, labels: list[int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        draw.check(settings, Gaussian(), labels, 10)


def test_weights_that_are_not_finite_are_named() -> None:
    model = network()
    draw.check_finite(model)
    with torch.no_grad():
        model.blocks[0].attn.qkv.weight[0, 0] = float("nan")
    with pytest.raises(DimbenchError, match=r"blocks\.0\.attn\.qkv\.weight"):
        draw.check_finite(model)


def test_grid_shows_every_image_in_its_place() -> None:
    pictures = to_uint8(torch.linspace(-1, 1, 5).view(5, 1, 1, 1).expand(5, 1, 8, 8))
    page = grid.sheet(pictures, [0, 1, 2, 3, 4], columns=3)
    pixels = np.asarray(page)
    tile, caption, gap = 64, grid._CAPTION, grid._GAP
    for index, picture in enumerate(pictures):
        row, column = gap + index // 3 * (tile + caption + gap) + caption, gap + index % 3 * (tile + gap)
        shown = pixels[row : row + tile, column : column + tile]
        assert (shown == picture[0, 0, 0].item()).all(), index
    assert isinstance(page, Image.Image)
