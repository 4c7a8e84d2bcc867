"""The digits classifier as a feature extractor of torch-fidelity, so that its metrics can be used by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from dimbench.quality.features import DigitsExtractor


def register() -> str:
    """The name under which torch_fidelity.calculate_metrics(feature_extractor=...) now knows the digits classifier.

    Loads torch-fidelity; safe to call more than once.
    """
    from torch_fidelity import FeatureExtractorBase, register_feature_extractor
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    name = DigitsExtractor.name
    if name in FEATURE_EXTRACTORS_REGISTRY:
        return name

    class FeatureExtractorDigits(FeatureExtractorBase):
        """uint8 RGB images (N, 3, 8, 8) -> the tuple of requested features, float64."""

        def __init__(
            self, name: str, features_list: list[str], feature_extractor_weights_path: str | None = None, **_: Any
        ) -> None:
            super().__init__(name, features_list)
            path = feature_extractor_weights_path
            self.extractor = DigitsExtractor(Path(path) if path else None)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("pool", "logits")

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "pool"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            features = self.extractor.features(images)
            return tuple(features[key] for key in self.features_list)

    register_feature_extractor(name, FeatureExtractorDigits)
    return name
