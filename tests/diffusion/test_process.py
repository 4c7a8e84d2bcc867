from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dimbench import backbone, presets
from dimbench.diffusion import dpm_solver, vp_sde
from dimbench.diffusion.gaussian import ddpm
from dimbench.diffusion.process import StableDiffusion, VariancePreserving, find_process
from dimbench.diffusion.schedules import schedule
from dimbench.diffusion.upsample_guidance import upsampled
from dimbench.errors import UsageError
from dimbench.presets import Preset
from tests import golden_data
from tests.diffusion import toys

ROUNDING = 1e-5
"""Of noise recovered from x in float32."""


DRAWN = [preset for preset in presets.all_presets().values() if preset.diffusion]


@pytest.mark.parametrize("preset", DRAWN, ids=lambda preset: preset.name)
def test_every_preset_names_a_process_and_one_of_its_samplers(preset: Preset) -> None:
    process = find_process(preset.diffusion)
    process.check(preset.diffusion["sampler"], 20)
    assert preset.diffusion["sampler"] in process.samplers
    with pytest.raises(UsageError):
        process.check("no such sampler", 20)


@pytest.mark.parametrize("process", [StableDiffusion(), VariancePreserving()], ids=["sd", "vp"])
def test_samplers_carry_noise_to_data(process: StableDiffusion | VariancePreserving) -> None:
    """The network that knows the data to be one point leads there, by every sampler."""
    vp = isinstance(process, VariancePreserving)

    def network(x: Tensor, t: Tensor) -> Tensor:
        s = vp_sde.deviation(t[0].item() / 999) if vp else dpm_solver.sigma(t[0].item() / 1000)
        return (x - math.sqrt(1 - s**2) * 0.5) / s

    x = golden_data.latents(2, 1, 4, 4).double()
    for sampler in process.samplers:
        end = process.sample(network, x, golden_data.noise, sampler, 300)
        assert end == pytest.approx(0.5, abs=0.1), sampler  # the last time of DPM-Solver leaves 3 % of noise
    with pytest.raises(UsageError):
        process.sample(network, x, golden_data.noise, process.samplers[0], 0)


@pytest.mark.parametrize(("model", "last"), [("ldm-4", [951, 1]), ("adm-64", [999, 0]), ("dit-s2", [999, 0])])
def test_a_gaussian_process_visits_the_timesteps_of_its_authors(model: str, last: list[int]) -> None:
    told: list[int] = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        told.append(int(t[0]))
        return x

    settings = presets.find(model).diffusion
    find_process(settings).sample(network, torch.ones(1, 1, 2, 2), golden_data.noise, "ddim", 20)
    assert [len(told), told[0], told[-1]] == [20, *last]


def test_a_gaussian_process_is_trained_on_its_own_schedule() -> None:
    """The network that knows the data to be 0 and the share of noise finds the noise."""
    name = "latent-diffusion"
    deviations = torch.tensor(1 - schedule(noise_schedule=name).alphas_cumprod).sqrt()

    def network(x: Tensor, t: Tensor) -> Tensor:
        return x / deviations[t].view(-1, 1, 1, 1).to(x)

    process = find_process({"process": "gaussian", "noise_schedule": name})
    losses = process.loss(network, torch.zeros(64, 1, 4, 4), torch.Generator().manual_seed(0))
    assert losses.max() < ROUNDING


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"process": "x"}, "unknown process 'x'.* gaussian, "),
        ({"process": "flow", "path": "linear"}, "flow has no prediction"),
        (
            {"process": "gaussian", "sampler": "eulerr"},
            r"as \[diffusion\] .* says it: unknown sampler 'eulerr'",
        ),
        ({"process": "gaussian", "prediction": "x"}, r"as \[diffusion\] .* says it: unknown prediction 'x'"),
    ],
)
def test_a_table_that_names_no_sound_process_is_refused(settings: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        find_process(settings)


def test_the_samplers_of_a_process_are_no_setting_of_it() -> None:
    with pytest.raises(UsageError, match="--process gaussian has no setting 'samplers'"):
        backbone.find(torch.nn.Conv2d(4, 4, 1), inputs=("input=4x8x8",), process="gaussian,samplers=3")


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_estimates_of_data_are_clipped_where_the_authors_clip(sampler: str) -> None:
    """A network that finds no noise in x takes it, enlarged, for the data."""
    x = 3 * golden_data.latents(2, 1, 4, 4)
    ends = [
        find_process({"process": "gaussian", "clip": clip}).sample(
            lambda x, t: torch.zeros_like(x), x, golden_data.noise, sampler, 10
        )
        for clip in (True, False)
    ]
    assert ends[0].abs().max() <= 1 < ends[1].abs().max()


def test_the_variance_is_the_posterior_s_where_the_authors_take_it() -> None:
    x = golden_data.latents(2, 1, 4, 4)
    settings = {"process": "gaussian", "noise_schedule": "squaredcos_cap_v2", "diffusion_steps": 100}
    small, large = (
        find_process({**settings, "sigma_small": small}).sample(lambda x, t: 0.1 * x, x, golden_data.noise, "ddpm", 10)
        for small in (True, False)
    )
    steps = schedule("10", noise_schedule="squaredcos_cap_v2", diffusion_steps=100)
    by_hand = ddpm(lambda x, t: 0.1 * x, x, steps, golden_data.noise, sigma_small=True)
    assert torch.equal(small, by_hand)
    assert not torch.equal(small, large)


def test_upsampled_images_are_led_by_the_reduced_one() -> None:
    assert backbone.find("dim-h2").diffusion is presets.find("dim-h2").diffusion
    larger = backbone.find("dim-h2", 1024).diffusion
    assert larger["sampler"] == "dpm-solver"
    sides = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        sides.append(x.shape[-1])
        return 0.1 * x

    x = golden_data.latents(1, 4, 8, 8)
    ours = find_process(larger).sample(network, x, golden_data.noise, "dpm-solver", 20)
    assert sides.count(8) == 20
    assert sides.count(4) == 7, "at times from 0.7 to 1 in steps of 1/20"
    led = dpm_solver.dpm_solver(lambda x, t: 0.1 * x, x, steps=20, method="dpm-solver", ask=upsampled(2))
    assert torch.equal(ours, led)


@pytest.mark.parametrize(("sampler", "draws"), [("euler-maruyama", 9), ("euler", 0)])
def test_only_the_stochastic_sampler_asks_for_noise(sampler: str, draws: int) -> None:
    noise = toys.CountedNoise()
    VariancePreserving().sample(lambda x, t: x, torch.ones(1, 1, 2, 2), noise, sampler, 10)
    assert len(noise.draws) == draws


def test_the_losses_mix_noise_in_as_the_samplers_take_it_out() -> None:
    x0, noise = golden_data.latents(3, 1, 8, 8), golden_data.noise(0, (3, 1, 8, 8))
    n, t = torch.tensor([1, 400, 1000]), torch.tensor([0.1, 0.4, 1.0])

    def recover(deviations: list[float], told: Tensor) -> tuple:
        def network(x: Tensor, seen: Tensor) -> Tensor:
            assert torch.equal(seen, told)
            s = torch.tensor(deviations).view(-1, 1, 1, 1)
            return (x - torch.sqrt(1 - s**2) * x0) / s + torch.tensor([0.0, 1.0, 2.0]).view(-1, 1, 1, 1)

        return network

    by_steps = recover([dpm_solver.sigma(k / 1000) for k in (1, 400, 1000)], n.float())
    by_times = recover([vp_sde.deviation(k) for k in t.tolist()], 999 * t)
    expected = torch.tensor([0.0, 1.0, 4.0])
    assert dpm_solver.noise_loss(by_steps, x0, noise, n) == pytest.approx(expected, abs=ROUNDING)
    assert vp_sde.noise_loss(by_times, x0, noise, t) == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize("process", [StableDiffusion(), VariancePreserving()], ids=["sd", "vp"])
def test_training_times_cover_the_process(process: StableDiffusion | VariancePreserving) -> None:
    told = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        told.append(t)
        return torch.zeros_like(x)

    losses = process.loss(network, torch.zeros(20000, 1, 1, 1), torch.Generator().manual_seed(0))
    assert losses.mean().item() == pytest.approx(1, abs=4 * math.sqrt(2 / 20000))  # the variance of the noise
    first, last = (1, 1000) if isinstance(process, StableDiffusion) else (0, 999)
    assert told[0].min().item() == pytest.approx(first, abs=0.5)
    assert told[0].max().item() == pytest.approx(last, abs=0.5)
