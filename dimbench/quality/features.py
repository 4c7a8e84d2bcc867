"""Extractors: networks whose features stand for an image where sets of images are compared."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from dimbench.data import digits
from dimbench.errors import DimbenchError, UsageError
from dimbench.quality.digits_classifier import WEIGHTS, load_classifier

Features = dict[str, Tensor]

# torch-fidelity and pytorch-fid both release it; the first digits of its SHA-256 stand in both file names.
INCEPTION_SHA256 = "6726825d"
INCEPTION_FILE = f"weights-inception-2015-12-05-{INCEPTION_SHA256}.pth"
INCEPTION_HOME = "https://github.com/toshas/torch-fidelity/releases/tag/v0.2.0"
INCEPTION_TWIN = f"pt_inception-2015-12-05-{INCEPTION_SHA256}.pth of https://github.com/mseitzer/pytorch-fid/releases"


class Extractor(Protocol):
    """What the metrics need: `features` of uint8 RGB images (N, 3, H, W), as CPU tensors.

    "pool" (N, D) are the features that FID, KID, precision and recall compare; "logits" (N, K) give the
    Inception Score.
    """

    name: str

    def features(self, images: Tensor) -> Features: ...


class DigitsExtractor:
    """64 features and 10 logits, float64, of 8 x 8 images; computed on the CPU, where it takes microseconds."""

    name = "digits-classifier"

    def __init__(self, weights: Path | None = None) -> None:
        self.model = load_classifier(weights or WEIGHTS)

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


class InceptionExtractor:
    """The FID-Inception of 2015 as torch-fidelity ports it: 2048 features and 1008 logits, float32.

    Images of any size are resized to 299 x 299 as TensorFlow 1 did. The logits leave out the bias, as the
    Inception Score of ADM's evaluator does.
    """

    name = "inception-v3-compat"

    def __init__(self, weights: Path | None = None, device: str | torch.device = "cpu") -> None:
        path = _official_inception(weights)
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        self.device = torch.device(device)
        self.model = FeatureExtractorInceptionV3(
            self.name, ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path), verbose=False
        ).to(self.device)

    def features(self, images: Tensor) -> Features:
        with torch.no_grad():
            pool, logits = self.model(images.to(self.device))
        return {"pool": pool.cpu(), "logits": logits.cpu()}


def _official_inception(weights: Path | None) -> Path:
    """The path given, once its content is known: FIDs of other weights cannot be compared with published ones."""
    remedy = (
        f"download {INCEPTION_FILE} from {INCEPTION_HOME} (or {INCEPTION_TWIN}) and give its place with --inception."
    )
    if weights is None:
        raise DimbenchError(f"{InceptionExtractor.name} needs weights that dimbench does not ship: {remedy}")
    if not weights.is_file():
        raise DimbenchError(f"The Inception weights {weights} do not exist: {remedy}")
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(INCEPTION_SHA256):
        raise DimbenchError(
            f"{weights} is not the official Inception (its SHA-256 begins with {found[:8]}, not {INCEPTION_SHA256}), "
            f"or it was cut off: {remedy}"
        )
    return weights


def _digits(weights: Path | None, device: str | torch.device) -> Extractor:
    return DigitsExtractor(weights)


EXTRACTORS: dict[str, Callable[[Path | None, str | torch.device], Extractor]] = {
    DigitsExtractor.name: _digits,
    InceptionExtractor.name: InceptionExtractor,
}


def create_extractor(name: str, weights: Path | None = None, device: str | torch.device = "cpu") -> Extractor:
    """The extractor `name`, with the weights of a local file; the digits classifier ships its own.

    Raises UsageError for an unknown name and DimbenchError where weights are missing or are not the official ones.
    """
    if name not in EXTRACTORS:
        near = difflib.get_close_matches(name, EXTRACTORS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UsageError(f"There is no feature extractor {name!r}{hint}: choose one of {', '.join(EXTRACTORS)}.")
    return EXTRACTORS[name](weights, device)


def extract(extractor: Extractor, batches: Iterable[Tensor]) -> Features:
    """The features of all images in `batches`, each uint8 (N, 3, H, W) or grey (N, 1, H, W), in their order.

    Raises UsageError where a batch is of another kind or there is no image at all.
    """
    parts = [extractor.features(_as_rgb(batch)) for batch in batches]
    if not parts:
        raise UsageError("There are no images to extract features from: give at least 2.")
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _as_rgb(images: Tensor) -> Tensor:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UsageError(
            f"Features need uint8 images (N, 3, H, W) or (N, 1, H, W) but got {images.dtype} "
            f"{tuple(images.shape)}: convert with dimbench.data.pixels.to_uint8 and put the channels second."
        )
    return images.expand(-1, 3, -1, -1)
