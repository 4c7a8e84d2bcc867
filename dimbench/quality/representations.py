"""The representation spaces of FDr^k besides Inception's (Yang et al. 2026, arXiv 2604.28190), from folders as their
authors publish them for transformers."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimbench.errors import DimbenchError
from dimbench.quality import clip, dinov2
from dimbench.quality.pretrained import pretrained
from dimbench.weights.checkpoints import fingerprint

HALVES = ((0.5,) * 3, (0.5,) * 3)  # SigLIP's mean and deviation
IMAGENET, CLIP = (dinov2.MEAN, dinov2.STD), (clip.MEAN, clip.STD)


@dataclass(frozen=True)
class Space:
    """A class of transformers that sees images of `side` pixels, normalised by mean and deviation; `features` takes
    from it what is compared, `distance` is its name in a record."""

    network: str
    distance: str
    home: str
    side: int
    normal: tuple[tuple[float, ...], tuple[float, ...]]
    features: Callable[[nn.Module, Tensor], Tensor]


def _class_token(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).last_hidden_state[:, 0]


def _unmasked(model: Any, x: Tensor) -> Tensor:
    """The class token of an MAE that hides no patch, and leaves them in their order."""
    patches = (x.shape[-1] // model.config.patch_size) ** 2
    return model(x, noise=torch.arange(patches, device=x.device).expand(len(x), -1)).last_hidden_state[:, 0]


def _pooled(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).pooler_output


def _mean_of_places(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).last_hidden_state.mean(dim=(2, 3))


HUB = "https://huggingface.co/"
SPACES = {
    "fdr-convnextv2-b": Space(
        "ConvNextV2Model", "fd_convnextv2", f"{HUB}facebook/convnextv2-base-22k-224", 224, IMAGENET, _mean_of_places
    ),
    "fdr-dinov2-l": Space("Dinov2Model", "fd_dinov2_256", f"{HUB}facebook/dinov2-large", 256, IMAGENET, _class_token),
    "fdr-clip-l": Space(
        "CLIPVisionModel", "fd_clip_256", f"{HUB}openai/clip-vit-large-patch14", 256, CLIP, _pooled
    ),
    "fdr-mae-l": Space("ViTMAEModel", "fd_mae", f"{HUB}facebook/vit-mae-large", 224, IMAGENET, _unmasked),
    "fdr-siglip2-so400m": Space(
        "SiglipVisionModel", "fd_siglip2", f"{HUB}google/siglip2-so400m-patch16-256", 224, HALVES, _pooled
    ),
}  # fmt: skip


class Representation:
    """Features of one space in float32. Images in [0, 1] are resized by torch, bicubic with antialiasing; a side that
    patches do not fill is padded with zeros below and to the right, and positions are resized likewise."""

    def __init__(self, name: str, weights: Path | None = None, device: str | torch.device = "cpu") -> None:
        space = SPACES[name]
        if weights is None:
            raise DimbenchError(f"{name} needs weights: download {space.home} and give --extractor {name}:FOLDER")
        self.name, self.distance, self.space = name, space.distance, space
        self.resize = f"{space.side} x {space.side}, bicubic with antialiasing by torch"
        found = pretrained(space.network, weights, name, space.home)
        self.padding = -space.side % found.config.patch_size
        self.model = _at(found, space.side + self.padding).eval().to(device).requires_grad_(False)
        self.sha256, self.device = fingerprint(weights), torch.device(device)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        x, side = images.float() / 255, self.space.side
        if x.shape[-2:] != (side, side):
            x = F.interpolate(x, (side, side), mode="bicubic", antialias=True)
        mean, deviation = (x.new_tensor(each).view(-1, 1, 1) for each in self.space.normal)
        x = F.pad((x - mean) / deviation, (0, self.padding, 0, self.padding))
        return {"pool": self.space.features(self.model, x.to(self.device)).cpu()}


def _at(model: Any, side: int) -> Any:
    """The network for images of `side` pixels, its positions resized from those it was trained with."""
    config = deepcopy(model.config)
    if hasattr(config, "mask_ratio"):
        config.mask_ratio = 0.0
    config.image_size = side
    resized = type(model)(config)
    wanted, state = resized.state_dict(), model.state_dict()
    for name in [name for name in state if "position_embedding" in name]:
        state[name] = _positions(state[name], wanted[name].shape)
    resized.load_state_dict(state)
    return resized


def _positions(given: Tensor, shape: torch.Size) -> Tensor:
    """Positions (..., places, D), a class token's before those of a square, for a square of another side."""
    places, width = shape[-2:]
    side, old = int(places**0.5), int(given.shape[-2] ** 0.5)
    if side == old:
        return given
    rows = given.reshape(-1, width)
    before, square = rows[: places - side**2], rows[places - side**2 :]
    square = square.T.reshape(1, width, old, old)
    square = F.interpolate(square, (side, side), mode="bicubic", antialias=True)
    return torch.cat([before, square.reshape(width, -1).T]).reshape(shape)
