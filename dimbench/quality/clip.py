"""CLIP's ViT-L/14 at 336 pixels, whose embeddings CMMD compares (Jayasumana et al. 2024, arXiv 2401.09603)."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from dimbench.errors import DimbenchError
from dimbench.quality.pretrained import pretrained
from dimbench.weights.checkpoints import fingerprint

HOME = "https://huggingface.co/openai/clip-vit-large-patch14-336"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class CLIPExtractor:
    """Image embeddings of length 1, 768 numbers in float32, of a folder as transformers saves it; images in [0, 1]
    resized by torch, bicubic without antialiasing, as the metric's own code does."""

    name, distance = "clip-vit-l14-336", "fd_clip"

    def __init__(self, weights: Path | None = None, device: str | torch.device = "cpu") -> None:
        if weights is None:
            raise DimbenchError(f"{self.name} needs weights: download {HOME} and give --extractor {self.name}:FOLDER")
        self.model = pretrained("CLIPVisionModelWithProjection", weights, "CLIP", HOME)
        self.sha256, self.device = fingerprint(weights), torch.device(device)
        self.model.to(self.device).requires_grad_(False)
        self.side = self.model.config.image_size
        self.resize = f"{self.side} x {self.side}, bicubic by torch"

    def features(self, images: Tensor) -> dict[str, Tensor]:
        x = F.interpolate(images.float() / 255, (self.side, self.side), mode="bicubic")
        x = (x - x.new_tensor(MEAN).view(-1, 1, 1)) / x.new_tensor(STD).view(-1, 1, 1)
        return {"pool": F.normalize(self.model(x.to(self.device)).image_embeds, dim=1).cpu()}
