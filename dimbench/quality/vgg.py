"""VGG16 of ImageNet, by whose features precision and recall were first defined, beside another extractor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dimbench.quality.inception import check_official

if TYPE_CHECKING:
    from dimbench.quality.features import Extractor, Features

VGG_SHA256 = "397923af"  # its first digits stand in the file's name
VGG_HOME = "https://download.pytorch.org/models/vgg16-397923af.pth"


class WithVGG:
    """An extractor whose features hold "vgg" too, (N, 4096), float32: the second fully connected layer after its ReLU.

    As torch-fidelity's vgg16: torchvision's weights, images of any size resized to 224 x 224 as TensorFlow 1 did.
    Kynkaanniemi et al. 2019 took the same layer, of the weights as published in 2014.
    """

    def __init__(self, extractor: Extractor, weights: Path, device: str | torch.device = "cpu") -> None:
        remedy = f"download {VGG_HOME} and give its place with --vgg."
        self.vgg_sha256 = check_official(weights, VGG_SHA256, "VGG16", remedy)
        from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16

        self.name, self.sha256, self.resize = extractor.name, extractor.sha256, extractor.resize
        self.distance, self.doubt = extractor.distance, getattr(extractor, "doubt", "")
        self.extractor, self.device = extractor, torch.device(device)
        self.vgg = FeatureExtractorVGG16("vgg16", ["fc2_relu"], feature_extractor_weights_path=str(weights))
        self.vgg.to(self.device)

    def features(self, images: Tensor) -> Features:
        with torch.no_grad():
            (features,) = self.vgg(images.to(self.device))
        return {**self.extractor.features(images), "vgg": features.cpu()}


def vgg_sha256(extractor: Extractor) -> str | None:
    """The SHA-256 of the VGG beside this extractor, None where there is none."""
    return extractor.vgg_sha256 if isinstance(extractor, WithVGG) else None
