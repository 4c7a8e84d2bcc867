"""Processes as diffusers' schedulers have them, on the same network and noise."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from dimbench import backbone, presets
from dimbench.diffusion.flow import Flow
from dimbench.diffusion.process import Gaussian, Process, find_process
from dimbench.errors import UsageError

STEPS = 12
LINEAR = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "clip_sample": False}


def network(x: Tensor, t: Tensor) -> Tensor:
    return torch.sin(3 * x) + t.view(-1, 1, 1, 1) / 1000


def noise(k: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(k + 1))


def start() -> Tensor:
    return noise(-1, (2, 4, 8, 8))


@pytest.mark.parametrize("prediction", ["noise", "data", "velocity"])
def test_gaussian_predictions(prediction: str) -> None:
    theirs = {"noise": "epsilon", "data": "sample", "velocity": "v_prediction"}[prediction]
    scheduler = DDIMScheduler(**LINEAR, prediction_type=theirs, set_alpha_to_one=True, timestep_spacing="linspace")
    scheduler.set_timesteps(1000)
    x = start()
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t.expand(2)), t, x).prev_sample
    process = Gaussian(prediction=prediction)
    ours = process.sample(network, start(), noise, "ddim", 1000)
    torch.testing.assert_close(ours, x, rtol=1e-3, atol=1e-3)


def test_the_velocity_is_trained_as_diffusers_forms_it() -> None:
    scheduler = DDPMScheduler(**LINEAR, prediction_type="v_prediction")
    generator = torch.Generator().manual_seed(0)
    loss = Gaussian(prediction="velocity").loss(network, start(), generator)
    generator.manual_seed(0)
    t = torch.randint(1000, (2,), generator=generator)
    eps = torch.randn(start().shape, generator=generator)
    out = network(scheduler.add_noise(start(), eps, t), t)
    expected = (out - scheduler.get_velocity(start(), eps, t)).square().flatten(1).mean(1)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def walked(scheduler: FlowMatchEulerDiscreteScheduler) -> Tensor:
    x = start()
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t.expand(2)), t, x).prev_sample
    return x


def test_sd3_walks_the_times_of_its_scheduler() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(STEPS)
    flow = find_process(presets.find("sd3-medium").diffusion)
    assert isinstance(flow, Flow)
    torch.testing.assert_close(1 - flow.times(STEPS), scheduler.sigmas, rtol=0, atol=1e-6)
    told = lambda x, t: -network(x, 1000 * (1 - t))  # noqa: E731
    ours = flow.sample(told, start(), noise, "euler", STEPS)
    torch.testing.assert_close(ours, walked(scheduler), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [256, 512, 1024])
def test_flux_shifts_by_the_size_of_the_picture(side: int) -> None:
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    sigmas = torch.linspace(1, 1 / STEPS, STEPS).tolist()
    scheduler.set_timesteps(sigmas=sigmas, mu=calculate_shift((side // 16) ** 2))
    flow = find_process(backbone.find("flux1-dev", side).diffusion)
    assert isinstance(flow, Flow)
    torch.testing.assert_close(1 - flow.times(STEPS), scheduler.sigmas, rtol=0, atol=1e-6)
    plain = find_process(backbone.find("flux1-schnell", side).diffusion)
    torch.testing.assert_close(plain.times(STEPS), torch.linspace(0, 1, STEPS + 1))


def scheduled(mu: float | None = None, **settings: Any) -> Tensor:
    """The shares of noise of diffusers' scheduler, handed even steps as most of its pipelines do."""
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=mu is not None, **settings)
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / STEPS, STEPS).tolist(), mu=mu)
    return scheduler.sigmas


def noise_shares(name: str, side: int | None = None, frames: int | None = None) -> Tensor:
    flow = find_process(backbone.find(name, side, frames=frames).diffusion)
    assert isinstance(flow, Flow)
    return 1 - flow.times(STEPS)


@pytest.mark.parametrize(
    ("name", "shift"),
    [
        ("sana-0.6b", 3.0),
        ("lumina-image-2", 6.0),
        ("z-image-turbo", 3.0),
        ("hunyuan-video", 7.0),
        ("wan2.1-1.3b", 3.0),
        ("wan2.1-14b", 5.0),
    ],
)
def test_a_fixed_shift_is_that_of_the_pipeline(name: str, shift: float) -> None:
    torch.testing.assert_close(noise_shares(name), scheduled(shift=shift), rtol=0, atol=1e-6)


def test_auraflow_walks_the_times_of_its_scheduler() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.73)
    scheduler.set_timesteps(STEPS)
    torch.testing.assert_close(noise_shares("auraflow"), scheduler.sigmas, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [512, 1024])
def test_qwen_image_and_flux2_shift_by_the_size_of_the_picture(side: int) -> None:
    from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu
    from diffusers.pipelines.qwenimage.pipeline_qwenimage import calculate_shift

    tokens = (side // 16) ** 2
    theirs = scheduled(calculate_shift(tokens, 256, 8192, 0.5, 0.9), shift_terminal=0.02)
    torch.testing.assert_close(noise_shares("qwen-image", side), theirs, rtol=0, atol=1e-6)
    theirs = scheduled(compute_empirical_mu(tokens, STEPS))
    torch.testing.assert_close(noise_shares("flux2-dev", side), theirs, rtol=0, atol=1e-6)
    theirs = scheduled(compute_empirical_mu(9216, STEPS))
    torch.testing.assert_close(noise_shares("flux2-dev", 1536), theirs, rtol=0, atol=1e-6)


def test_ltx_video_shifts_by_the_size_of_the_clip() -> None:
    from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift

    theirs = scheduled(calculate_shift(21 * 16 * 22, 1024, 4096, 0.95, 2.05), shift_terminal=0.1)
    torch.testing.assert_close(noise_shares("ltx-video-2b"), theirs, rtol=0, atol=1e-6)
    tokens = prod(backbone.find("ltx-video-2b", 256, frames=25).state[1:])
    theirs = scheduled(calculate_shift(tokens, 1024, 4096, 0.95, 2.05), shift_terminal=0.1)
    torch.testing.assert_close(noise_shares("ltx-video-2b", 256, 25), theirs, rtol=0, atol=1e-6)


def test_a_process_is_set_in_its_name() -> None:
    def trained_on(process: str) -> Process:
        return find_process(backbone.find("diffusers:DiTTransformer2DModel", process=process).diffusion)

    flow = trained_on("rectified-flow,shift=3,time_scale=1000")
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / STEPS, STEPS).tolist())
    torch.testing.assert_close(
        flow.sample(network, start(), noise, "euler", STEPS), walked(scheduler), rtol=1e-4, atol=1e-4
    )
    assert find_process(
        backbone.find("diffusers:DiTTransformer2DModel", process="gaussian,prediction=velocity").diffusion
    )
    for wrong, said in [("gaussian,predict=x", "did you mean prediction"), ("gausian", "did you mean gaussian")]:
        with pytest.raises(UsageError, match=said):
            trained_on(wrong)
    with pytest.raises(UsageError, match="prediction"):
        find_process({"process": "gaussian", "prediction": "nothing"})
