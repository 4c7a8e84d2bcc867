"""Extractors: networks whose features stand for an image where sets of images are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from dimbench.data import digits
from dimbench.errors import UsageError
from dimbench.files import digest
from dimbench.names import meant
from dimbench.quality.clip import CLIPExtractor
from dimbench.quality.digits_classifier import WEIGHTS, load_classifier
from dimbench.quality.dinov2 import DINOv2Extractor
from dimbench.quality.inception import InceptionExtractor
from dimbench.quality.representations import SPACES, Representation

Features = dict[str, Tensor]


class Extractor(Protocol):
    """What the metrics need: `features` of uint8 RGB images (N, 3, H, W), as CPU tensors.

    "pool" (N, D) are the features that FID, KID, precision and recall compare; "logits" (N, K), where there are any,
    give the Inception Score; "spatial" (N, S), where there are any, sFID; "vgg" (N, V) a second precision and recall.
    `sha256` is that of the weights, `resize` says what is done to images of another size, `distance` what the Frechet
    distance of these features is called in a record. One that also takes other weights than its authors' has a `doubt`,
    a sentence on those that it was given, "" where there is none.
    """

    name: str
    distance: str
    sha256: str
    resize: str

    def features(self, images: Tensor) -> Features: ...


class DigitsExtractor:
    """64 features and 10 logits, float64, of 8 x 8 images; computed on the CPU, where it takes microseconds."""

    name, distance = "digits-classifier", "fid"
    resize = "none"

    def __init__(self, weights: Path | None = None) -> None:
        self.model = load_classifier(weights or WEIGHTS)
        self.sha256 = digest(weights or WEIGHTS)

    def features(self, images: Tensor) -> Features:
        if images.shape[-2:] != (digits.SIZE, digits.SIZE):
            height, width = images.shape[-2:]
            raise UsageError(
                f"{self.name} was given images of {height} x {width} pixels but knows only {digits.SIZE} x "
                f"{digits.SIZE} digits: choose another extractor, such as inception-v3-compat."
            )
        with torch.no_grad():
            pool, logits = self.model(images.cpu())
        return {"pool": pool, "logits": logits}


def _digits(weights: Path | None, device: str | torch.device) -> Extractor:
    return DigitsExtractor(weights)


EXTRACTORS: dict[str, Callable[[Path | None, str | torch.device], Extractor]] = {
    DigitsExtractor.name: _digits,
    InceptionExtractor.name: InceptionExtractor,
    DINOv2Extractor.name: DINOv2Extractor,
    CLIPExtractor.name: CLIPExtractor,
    **{name: partial(Representation, name) for name in SPACES},
}


def create_extractor(name: str, weights: Path | None = None, device: str | torch.device = "cpu") -> Extractor:
    """The extractor `name`, with the weights of a local file; the digits classifier ships its own.

    Raises UsageError for an unknown name and DimbenchError where weights are missing or are not the official ones.
    """
    check_name(name)
    return EXTRACTORS[name](weights, device)


def check_name(name: str) -> None:
    """Raise UsageError where no extractor is called so."""
    if name not in EXTRACTORS:
        hint = meant(name, EXTRACTORS, f"give one of {', '.join(EXTRACTORS)}")
        raise UsageError(f"unknown feature extractor {name!r}; {hint}")


def extract(extractor: Extractor, batches: Iterable[Tensor]) -> Features:
    """The features of all images in `batches`, each uint8 (N, 3, H, W) or grey (N, 1, H, W), in their order.

    Raises UsageError where a batch is of another kind or there is no image at all.
    """
    parts = [extractor.features(as_rgb(batch)) for batch in batches]
    if not parts:
        raise UsageError("There are no images to extract features from: give at least 2.")
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def as_rgb(images: Tensor) -> Tensor:
    """uint8 images (N, 3, H, W), grey ones (N, 1, H, W) widened. Raises UsageError for others."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UsageError(
            f"Features need uint8 images (N, 3, H, W) or (N, 1, H, W) but got {images.dtype} "
            f"{tuple(images.shape)}: convert with dimbench.data.pixels.to_uint8 and put the channels second."
        )
    return images.expand(-1, 3, -1, -1)
