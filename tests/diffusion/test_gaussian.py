from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from dimbench.diffusion.convention import Counted
from dimbench.diffusion.gaussian import ddim, ddim_reverse_step, ddpm, predicted_x0
from dimbench.diffusion.guidance import guided
from dimbench.diffusion.schedules import GaussianSchedule, schedule
from dimbench.errors import DimbenchError, UsageError
from tests import golden_data
from tests.diffusion import toys

TRAJECTORIES = [case for case in golden_data.card("dit/diffusion.json")["files"] if case["kind"] == "trajectory"]
GOLDEN = 1e-5
"""Relative to the largest value: float32 rounding over 50 growing steps; 1e-6 is seen."""
FLOAT32 = 1e-5
"""Relative: two float32 orders of one computation over 20 steps."""


def network_of(case: dict) -> Counted:
    if case["network"] == "toy":
        return Counted(toys.gaussian)
    if case["network"] == "toy without the variance channels":
        return Counted(toys.gaussian_noise)
    y = torch.tensor(case["model_kwargs"]["y"])
    labelled = guided(toys.gaussian_labelled, case["model_kwargs"]["cfg_scale"])
    return Counted(lambda x, t: labelled(x, t, y))


@pytest.mark.parametrize("case", TRAJECTORIES, ids=lambda case: case["file"])
def test_trajectories_equal_the_official_ones(case: dict) -> None:
    golden = golden_data.arrays(f"dit/{case['file']}")
    process = schedule(case["timestep_respacing"])
    network, noise, states = network_of(case), toys.CountedNoise(), toys.States()
    if case["method"] == "ddpm":
        end = ddpm(network, golden["start"], process, noise, clip=case["clip_denoised"], on_step=states)
    else:
        end = ddim(
            network, golden["start"], process, noise, eta=case["eta"], clip=case["clip_denoised"], on_step=states
        )

    assert golden_data.relative_error(states[9], golden["after_10"]) < GOLDEN
    assert golden_data.relative_error(states[24], golden["after_25"]) < GOLDEN
    assert golden_data.relative_error(end, golden["end"]) < GOLDEN
    assert torch.equal(states[len(process) - 1], end)
    assert noise.draws == list(range(case["noise_draws"]))
    assert network.calls == case["steps"]
    for name, i, x in (("first", len(process) - 1, golden["start"]), ("last", 0, states[len(process) - 2])):
        estimate = network(x, torch.full((len(x),), int(process.timesteps[i])))[:, :4]
        x0 = predicted_x0(process, i, x, estimate, clip=case["clip_denoised"])
        assert golden_data.relative_error(x0, golden[f"pred_xstart_{name}"]) < GOLDEN


def exact_noise(every: GaussianSchedule, mean: float, deviation: float) -> toys.Network:
    """The noise network that is exact for independent data N(mean, deviation^2)."""
    cumulative = torch.from_numpy(every.alphas_cumprod)

    def network(x: Tensor, t: Tensor) -> Tensor:
        a = cumulative[t].to(x.dtype).view(-1, *[1] * (x.ndim - 1))
        return (1 - a).sqrt() * (x - a.sqrt() * mean) / (a * deviation**2 + 1 - a)

    return network


def test_ddim_converges_to_the_flow_at_first_order() -> None:
    every = schedule("", diffusion_steps=4000)
    network = exact_noise(every, 0.5, 0.3)
    x = golden_data.latents(1, 1, 8, 8).double()
    errors = []
    for steps in (40, 80, 160):
        process = schedule(steps, diffusion_steps=4000)
        a = process.alphas_cumprod[-1]
        exact = 0.5 + 0.3 * (x - math.sqrt(a) * 0.5) / math.sqrt(a * 0.3**2 + 1 - a)
        errors.append((ddim(network, x, process) - exact).abs().max().item())
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("sigma_small", [False, True])
def test_ddpm_of_known_data_has_the_marginals_of_the_schedule(sigma_small: bool) -> None:
    """For data that is one point the posterior, sigma_small, is exact at every step; the betas overshoot near it."""
    process = schedule("20")
    network = exact_noise(schedule(), 0.5, 0.0)
    generator = torch.Generator().manual_seed(0)
    states = toys.States()
    x = torch.randn(1, 1, 256, 256, generator=generator, dtype=torch.float64)
    end = ddpm(
        network,
        x,
        process,
        lambda k, shape: torch.randn(shape, generator=generator, dtype=torch.float64),
        sigma_small=sigma_small,
        on_step=states,
    )
    torch.testing.assert_close(end, torch.full_like(end, 0.5))
    # The state after step k is x_{n-2-k}; the relative standard error of a variance is sqrt(2 / samples).
    share = [states[k].var().item() / (1 - process.alphas_cumprod[18 - k]) for k in (4, 9, 14, 18)]
    if sigma_small:
        assert share == pytest.approx([1, 1, 1, 1], abs=4 * math.sqrt(2 / x.numel()))
    else:
        assert share[-1] > 2


def test_the_reverse_step_undoes_a_ddim_step_of_equal_noise() -> None:
    process = schedule("20")
    x = golden_data.latents(1, 4, 4, 4).double()
    eps = golden_data.noise(0, (1, 4, 4, 4)).double()
    states = toys.States()
    ddim(lambda x, t: eps, x, process, on_step=states)
    for i in range(len(process) - 1):
        back = ddim_reverse_step(lambda x, t: eps, states[len(process) - 1 - i - 1], process, i)
        before = states[len(process) - 1 - i - 2] if i < len(process) - 2 else x
        assert golden_data.relative_error(back, before) < FLOAT32


def test_the_last_reverse_step_leaves_noise() -> None:
    process = schedule("20")
    x, eps = golden_data.latents(1, 4, 4, 4), golden_data.noise(0, (1, 4, 4, 4))
    assert golden_data.relative_error(ddim_reverse_step(lambda x, t: eps, x, process, 19), eps) < FLOAT32


@pytest.mark.parametrize("sampler", [ddpm, ddim])
def test_predicting_x0_or_the_noise_is_the_same(sampler: toys.Network) -> None:
    process = schedule("20")
    position = {int(t): i for i, t in enumerate(process.timesteps)}

    def x0_network(x: Tensor, t: Tensor) -> Tensor:
        return predicted_x0(process, position[int(t[0])], x, toys.gaussian_noise(x, t))

    x = golden_data.latents(2, 4, 4, 4).double()
    noise = sampler(toys.gaussian_noise, x, process, golden_data.noise)
    x0 = sampler(x0_network, x, process, golden_data.noise, predict_xstart=True)
    assert golden_data.relative_error(x0, noise) < FLOAT32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("sampler", [ddpm, ddim])
def test_the_state_keeps_its_dtype(sampler: toys.Network, dtype: torch.dtype) -> None:
    process = schedule("10")
    x = golden_data.latents(2, 4, 4, 4)
    network = lambda x, t: toys.gaussian(x.float(), t)  # noqa: E731 -- answers in float32, as a network may
    end = sampler(network, x.to(dtype), process, golden_data.noise)
    assert end.dtype == dtype
    coarse = 0.05 if dtype == torch.bfloat16 else FLOAT32  # bfloat16 has 8 bits
    assert golden_data.relative_error(end, sampler(network, x, process, golden_data.noise)) < coarse


@pytest.mark.parametrize("sampler", [ddpm, ddim])
def test_a_broken_network_shows_in_the_sample(sampler: toys.Network) -> None:
    end = sampler(lambda x, t: x * math.nan, torch.ones(1, 4, 2, 2), schedule("10"), golden_data.noise)
    assert end.isnan().all()


def test_no_graph_is_kept() -> None:
    weight = torch.ones(1, requires_grad=True)
    assert not ddpm(lambda x, t: weight * x, torch.ones(1, 4, 2, 2), schedule("10"), golden_data.noise).requires_grad


def test_a_network_of_odd_width_is_named() -> None:
    with pytest.raises(DimbenchError, match="returned 5 channels for 4"):
        ddpm(lambda x, t: torch.ones(1, 5, 2, 2), torch.ones(1, 4, 2, 2), schedule("10"), golden_data.noise)


@pytest.mark.parametrize(("eta", "words"), [(-0.1, "outside 0 to 1"), (1.5, "outside 0 to 1"), (0.5, "needs noise")])
def test_bad_eta_is_refused(eta: float, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ddim(toys.gaussian, torch.ones(1, 4, 2, 2), schedule("10"), eta=eta)


@pytest.mark.parametrize("sampler", [ddpm, ddim])
def test_the_gradient_of_a_likelihood_draws_from_the_posterior(sampler: Callable[..., Tensor]) -> None:
    """Of data ~ N(0, 1) seen through noise of variance 1, where both the noise and the gradient are known."""
    whole = schedule("")
    share, seen = torch.from_numpy(whole.alphas_cumprod).float(), 1.0
    generator = torch.Generator().manual_seed(0)

    def noise_in(x: Tensor, t: Tensor) -> Tensor:
        return (1 - share[t]).sqrt()[:, None] * x

    def gradient(x: Tensor, t: Tensor) -> Tensor:
        a = share[t][:, None]
        return a.sqrt() * (seen - a.sqrt() * x) / (1 - a + 1)

    draw = lambda k, shape: torch.randn(shape, generator=generator)  # noqa: E731
    drawn = sampler(noise_in, draw(-1, (20_000, 1)), whole, draw, gradient=gradient)
    assert drawn.mean().item() == pytest.approx(seen / 2, abs=0.02)  # 0.005 is its deviation
    assert drawn.var().item() == pytest.approx(1 / 2, abs=0.02)
