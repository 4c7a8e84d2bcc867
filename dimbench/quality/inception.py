"""The FID-Inception of 2015, with the features of ADM's evaluation suite."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dimbench.errors import DimbenchError
from dimbench.files import digest

# torch-fidelity and pytorch-fid both release it; the first digits of its SHA-256 stand in both file names.
INCEPTION_SHA256 = "6726825d"
INCEPTION_FILE = f"weights-inception-2015-12-05-{INCEPTION_SHA256}.pth"
INCEPTION_HOME = "https://github.com/toshas/torch-fidelity/releases/tag/v0.2.0"
INCEPTION_TWIN = f"pt_inception-2015-12-05-{INCEPTION_SHA256}.pth of https://github.com/mseitzer/pytorch-fid/releases"

SPATIAL_CHANNELS = 7


class InceptionExtractor:
    """The network as torch-fidelity ports it: 2048 features, 1008 logits and 2023 spatial features, float32.

    Images of any size are resized to 299 x 299 as TensorFlow 1 did. The logits leave out the bias, as the
    Inception Score of ADM's evaluator does. The spatial features are its tensor mixed_6/conv, which is the 1 x 1
    branch of the block called Mixed_6d here: the first 7 of its channels, 17 x 17, the channel running fastest.
    """

    name, distance = "inception-v3-compat", "fid"
    resize = "299 x 299, bilinear as in TensorFlow 1"

    def __init__(self, weights: Path | None = None, device: str | torch.device = "cpu") -> None:
        remedy = f"download {INCEPTION_FILE} from {INCEPTION_HOME} (or {INCEPTION_TWIN}) and give it with --inception."
        if weights is None:
            raise DimbenchError(f"{self.name} needs weights that dimbench does not ship: {remedy}")
        self.sha256 = check_official(weights, INCEPTION_SHA256, "Inception", remedy)
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        self.device = torch.device(device)
        self.model = FeatureExtractorInceptionV3(
            self.name, ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights), verbose=False
        ).to(self.device)
        self.model.Mixed_6d.branch1x1.register_forward_hook(self._keep_spatial)

    def _keep_spatial(self, module: nn.Module, given: object, output: Tensor) -> None:
        self._spatial = output[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1).float()

    def features(self, images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            pool, logits = self.model(images.to(self.device))
        return {"pool": pool.cpu(), "logits": logits.cpu(), "spatial": self._spatial.cpu()}


def check_official(weights: Path, sha256: str, network: str, remedy: str) -> str:
    """The SHA-256 of the file, which must begin with `sha256`: figures by other weights compare with no published ones.

    Raises DimbenchError, which ends with the remedy, where the file is missing or another.
    """
    if not weights.is_file():
        raise DimbenchError(f"The {network} weights {weights} do not exist: {remedy}")
    found = digest(weights)
    if not found.startswith(sha256):
        raise DimbenchError(
            f"{weights} is not the official {network} (its SHA-256 begins with {found[:8]}, not {sha256}), "
            f"or it was cut off: {remedy}"
        )
    return found
