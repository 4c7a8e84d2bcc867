"""A published FID repeated: what it needs, the request that draws it, and why a figure may not compare with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dimbench import presets
from dimbench.errors import UsageError
from dimbench.presets import Recipe
from dimbench.quality import networks
from dimbench.sampling import decoding
from dimbench.sampling.request import Request
from dimbench.weights import catalog

IMAGES = 50_000
UNPUBLISHED = "unpublished weights"


def needs(
    recipe: Recipe, request: Request | None = None, reference: Path | None = None, inception: Path | None = None
) -> dict[str, str]:
    """What is missing here to run a recipe, a word for each, and where it is to be had."""
    missing = {}
    places = [catalog.path_of(file) for file in recipe.files] + ([request.weights] if request else [])
    here = any(place is not None and place.is_file() for place in places)
    if not here and not recipe.files:
        missing[UNPUBLISHED] = "--weights FILE: the checkpoint, which nobody published"
    elif not here:
        homes = " or ".join(f"{f.file} from {catalog.home(f)}" for f in recipe.files)
        missing["weights"] = f"--weights FILE: the checkpoint, {homes}"
    name = (request and request.autoencoder) or _autoencoder(recipe)
    if name and (absent := decoding.missing(name)):
        missing["autoencoder"] = absent[0]
    classifier = catalog.classifier_of(presets.find(recipe.model).family, recipe.resolution)
    if any(text.startswith("classifier:") for text in _with(recipe)) and not catalog.shared(classifier):
        missing["classifier"] = f"the classifier of noised images, by `dimbench weights fetch {classifier}`"
    if not (reference or catalog.shared(networks.statistics_name((recipe.resolution,) * 2, recipe.data))):
        missing["reference"] = networks.absent_reference((recipe.resolution,) * 2, recipe.data)
    if not (inception or catalog.shared("inception")):
        missing["inception"] = networks.absent_inception()
    return missing


def request(recipe: Recipe, given: Request) -> Request:
    """What has to be drawn: all that decides the images is the recipe's, the place where it happens the user's.
    UsageError where it cannot be."""
    from dimbench import backbone, methods
    from dimbench.diffusion.process import find_process

    found, how = backbone.find(recipe.model, recipe.resolution), recipe.sampling
    try:
        find_process(found.diffusion).check(how["sampler"], how["steps"])
        methods.parse(_with(recipe))
    except UsageError as error:
        raise UsageError(f"{recipe.name}, as the preset {recipe.model} has it: {error}") from None
    here = next((path for file in recipe.files if (path := catalog.path_of(file)).is_file()), None)
    named = catalog.path_of(recipe.files[0]) if recipe.files else None
    return replace(
        given,
        backbone=found,
        steps=how["steps"],
        cfg=how["cfg"],
        sampler=how["sampler"],
        methods=_with(recipe),
        labels="random",
        weights=given.weights or (None if given.random_weights else here or named),
        autoencoder=given.autoencoder or (None if given.random_weights else _autoencoder(recipe) or None),
    )


def doubts(recipe: Recipe, drawn: Request) -> list[str]:
    """Why a figure does not compare with the recipe's claim."""
    said = []
    if (n := drawn.num_images) != IMAGES:
        said.append(f"The claim is of {IMAGES:,} images and FID falls with their number: {n:,} do not compare.")
    if "autoencoder" in recipe.sampling and drawn.autoencoder not in (None, _autoencoder(recipe)):
        said.append(f"The claim is with the autoencoder {_autoencoder(recipe)}, this with {drawn.autoencoder}.")
    return said


def _with(recipe: Recipe) -> tuple[str, ...]:
    return tuple(recipe.sampling.get("with", ()))


def _autoencoder(recipe: Recipe) -> str:
    """What --autoencoder calls it, "" where pixels are drawn or nothing is said of it."""
    return decoding.short_name(recipe.sampling.get("autoencoder", ""))
