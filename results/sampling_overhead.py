"""What a step of sampling costs beside the network: whole runs whose network gives back one and the same tensor.

Run from the root of the checkout: python results/sampling_overhead.py [--rounds N]. One image of the family's latents
in float32, 100 steps, on one thread; the runs take turns. It appends one record per run to
results/sampling-overhead.jsonl.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dimbench import backbone
from dimbench import stats as series
from dimbench.bench.alternating import alternate
from dimbench.diffusion.process import find_process
from dimbench.results import Record, append
from dimbench.sampling.image_cost import settings_of
from dimbench.sampling.run import Run
from dimbench.sampling.sample_noise import SampleNoise

STEPS = 100
WANTED = 80e-6  # seconds a step
# Network, sampler, scale of guidance and how many times the channels of its input the network gives.
RUNS = (
    ("dit-xl2", "ddpm", 1.0, 2),
    ("dit-xl2", "ddpm", 1.5, 2),
    ("dit-xl2", "ddim", 1.5, 2),
    ("sit-xl2", "euler", 1.5, 1),
    ("sit-xl2", "heun2", 1.5, 1),
    ("sit-xl2", "sde-euler", 1.5, 1),
    ("lightningdit-xl1", "euler", 1.0, 1),
)


def sampling(name: str, sampler: str, cfg: float, times: int) -> Callable[[], object]:
    """A whole run of that sampler, whose network costs nothing."""
    found = backbone.find(name)
    run = Run(found, nn.Identity(), find_process(found.diffusion), settings_of(found, sampler, STEPS, cfg))

    @cache
    def output(shape: torch.Size) -> Tensor:
        rows, channels, *size = shape
        return torch.zeros(rows, times * channels, *size)

    def call(x: Tensor, t: Tensor, given: Any) -> Tensor:
        return output(x.shape)

    run.call = call
    return lambda: run.sample(SampleNoise(0, range(1)))


@torch.inference_mode()
def main(rounds: int) -> None:
    torch.set_num_threads(1)
    runs = {f"{name} {sampler} cfg {cfg}": each for each in RUNS for name, sampler, cfg, _ in [each]}
    seconds = alternate({title: sampling(*each) for title, each in runs.items()}, rounds)
    records = []
    for title, (name, sampler, cfg, _) in runs.items():
        samples = [total / STEPS for total in seconds[title]]
        low, high = series.median_interval(samples) or (None, None)
        median = series.median(samples)
        conditions = {"sampler": sampler, "steps": STEPS, "cfg": cfg, "batch": 1, "dtype": "fp32", "threads": 1,
                      "rounds": rounds}  # fmt: skip
        metrics = {"seconds_per_step": median, "seconds_per_step_low": low, "seconds_per_step_high": high,
                   "target": WANTED}  # fmt: skip
        records.append(Record("sampling-overhead", name, conditions, metrics, samples={"seconds": samples}))
        print(f"{title}: {median * 1e6:.1f} us a step, at most {WANTED * 1e6:.0f}")
    append(records, Path(__file__).with_name("sampling-overhead.jsonl"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, help="runs of each; 25")
    main(parser.parse_args().rounds)
