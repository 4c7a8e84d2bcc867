"""What has a published FID on one benchmark, a data set at one size, and on which latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dimbench import names, presets
from dimbench.diffusers_networks.latent_space import latent_space
from dimbench.presets import NOT_STATED, Preset, Recipe


@dataclass(frozen=True)
class Comparable:
    """A model on latents of the shape `latent` (C, h, w), `stride` pixels per side of each, that are `normalised` and
    turned into images by `decoder`: "" where it draws pixels; without
    a shape where no decoder is stated. `fid` is the best that is published there."""

    model: str
    latent: tuple[int, ...]
    stride: int
    normalised: str
    decoder: str
    fid: str
    sampler: str
    steps: int
    cfg: float


def comparable(models: Sequence[Preset], benchmark: str) -> list[Comparable]:
    """Those of the models with a FID on it, such as "imagenet-256", in order, one for each decoder. UsageError for
    an unknown benchmark."""
    by_benchmark: dict[str, list[Recipe]] = {}
    for recipe in presets.recipes().values():
        by_benchmark.setdefault(benchmark_of(recipe), []).append(recipe)
    known = ", ".join(sorted(by_benchmark))
    recipes = names.find(benchmark, by_benchmark, "benchmark", f"known are {known}")
    return [
        _row(preset, min(group, key=lambda recipe: float(recipe.fid)))
        for preset in models
        for group in _by_decoder([recipe for recipe in recipes if recipe.model == preset.name])
    ]


def with_fid(models: Sequence[str], benchmark: str) -> set[str]:
    """Those of these names that have a FID on it."""
    ours = [preset for name in models if (preset := presets.of(name))]
    return {entry.model for entry in comparable(ours, benchmark)}


def benchmark_of(recipe: Recipe) -> str:
    """What its FID is of, such as "imagenet-256"."""
    return f"{recipe.data.lower().replace(' ', '-')}-{recipe.resolution}"


def _by_decoder(recipes: Sequence[Recipe]) -> list[list[Recipe]]:
    groups: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        groups.setdefault(recipe.sampling.get("autoencoder", NOT_STATED), []).append(recipe)
    return list(groups.values())


def _row(preset: Preset, best: Recipe) -> Comparable:
    how, side = best.sampling, best.resolution // preset.latent_stride
    decoder = how.get("autoencoder", NOT_STATED)
    stated = decoder != NOT_STATED
    space = latent_space(decoder) if decoder and stated else None
    normalised = "by channel" if preset.latent else space.normalised if space else ""
    latent = (space.channels if space else 3, side, side) if stated else ()
    drawn = (how["sampler"], how["steps"], how["cfg"])
    return Comparable(preset.name, latent, preset.latent_stride, normalised, decoder, best.fid, *drawn)
