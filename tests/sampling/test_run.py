from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from dimbench import backbone
from dimbench.backbone import Backbone
from dimbench.data.pixels import to_uint8
from dimbench.diffusion.process import Gaussian, Process, Transport
from dimbench.diffusion.transport import GVP, Linear
from dimbench.errors import DimbenchError, UsageError
from dimbench.sampling import grid, run, sample_noise
from dimbench.sampling.run import Run, Settings
from dimbench.sampling.sample_noise import SampleNoise

SMALL = {"hidden_size": 32, "depth": 1, "num_heads": 2}


def small(name: str = "dit-digits") -> tuple[Backbone, torch.nn.Module]:
    """A small network whose output is not zero."""
    found = backbone.find(name, settings=SMALL)
    model = backbone.created(found)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return found, model


def images(
    network: tuple[Backbone, torch.nn.Module],
    process: Process,
    settings: Settings,
    rows: range = range(11),
    seed: int = 0,
) -> torch.Tensor:
    with torch.no_grad():
        return Run(*network, process, settings)(SampleNoise(seed, rows))


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
    network = small(name)
    settings = Settings(sampler, 6, cfg)
    whole = images(network, process, settings, seed=3)
    for rows in (range(1), range(4, 8), range(7, 11)):
        # matrix products of other sizes sum in another order: rounding, grown over six steps
        assert torch.allclose(images(network, process, settings, rows, 3), whole[rows.start : rows.stop], atol=2e-4)
    other = images(network, process, settings, seed=4)
    assert not torch.allclose(other, whole, atol=0.1)


def test_guidance_of_one_half_is_that_of_the_stacked_batch() -> None:
    """The official loop carries both halves along; only the first is kept and only it is used."""
    from dimbench.diffusion.gaussian import ddpm
    from dimbench.diffusion.guidance import guided
    from dimbench.diffusion.schedules import schedule

    found, model = small()
    ours = images((found, model), Gaussian(), Settings("ddpm", 5, 1.5))
    noise = SampleNoise(0, range(11))
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
    noise = SampleNoise(7, range(400))
    first = noise(-1, (400, 1, 8, 8))
    assert first.mean().item() == pytest.approx(0, abs=0.025)  # 4 standard errors of 25,600 draws
    assert first.std().item() == pytest.approx(1, abs=0.02)
    assert len({tuple(image.flatten().tolist()) for image in first}) == 400
    assert torch.equal(SampleNoise(7, [399])(-1, (1, 1, 8, 8))[0], first[399])
    assert not torch.equal(noise(0, (400, 1, 8, 8)), first)


def test_seeds_of_neighbours_differ() -> None:
    seeds = {sample_noise.mixed(seed, index) for seed in range(100) for index in range(100)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings("ddpm", 0), "0"),
        (Settings("ddpm", 2000), "2000"),
        (Settings("euler", 50), "unknown sampler 'euler'"),
        (Settings("ddpm", 50, cfg=0.5), "guidance 0.5"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: Settings, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        run.check(settings, Gaussian(), backbone.find("dit-digits"))


def test_what_knows_no_null_cannot_be_guided() -> None:
    found = backbone.find("dit-digits", settings={"label_dropout": 0.0})
    run.check(Settings("ddpm", 50), Gaussian(), found)
    with pytest.raises(UsageError, match="cannot be guided"):
        run.check(Settings("ddpm", 50, cfg=2.0), Gaussian(), found)


@pytest.mark.parametrize(("sampler", "cfg", "calls", "passes"), [("ddpm", 1, 6, 6), ("ddpm", 2, 6, 12)])
def test_calls_and_passes_are_counted(sampler: str, cfg: float, calls: int, passes: int) -> None:
    whole = Run(*small(), Gaussian(), Settings(sampler, 6, cfg))
    for _ in range(2):
        with torch.no_grad():
            whole(SampleNoise(0, range(3)))
        assert (whole.calls, whole.passes) == (calls, passes)


def test_the_network_alone_leaves_float32() -> None:
    found, model = small()
    seen: list[torch.Tensor] = []
    model.register_forward_pre_hook(lambda _, args: seen.extend(args))
    whole = Run(found, model.to(torch.bfloat16), Gaussian(), Settings("ddpm", 2))
    with torch.no_grad():
        assert whole(SampleNoise(0, range(2))).dtype == torch.float32
    assert {x.dtype for x in seen[::2]} == {torch.bfloat16}
    assert {t.dtype for t in seen[1::2]} == {torch.int64}, "times stay as they are"


def test_weights_that_are_not_finite_are_named() -> None:
    _, model = small()
    run.check_finite(model)
    with torch.no_grad():
        model.blocks[0].attn.qkv.weight[0, 0] = float("nan")
    with pytest.raises(DimbenchError, match=r"blocks\.0\.attn\.qkv\.weight"):
        run.check_finite(model)


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
