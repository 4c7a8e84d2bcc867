"""DINOv2's ViT-L/14, by whose class token dgm-eval compares images (Stein et al. 2023, arXiv 2306.04675): FD-DINOv2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from dimbench.errors import DimbenchError
from dimbench.files import digest
from dimbench.layers.attention import SelfAttention
from dimbench.weights.checkpoints import fill, read_weights

HOME = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth"
SHA256 = "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428"  # of that file of 1,217,586,395 bytes
SIDE, PATCH, HEAD = 224, 14, 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
OFFSET = 0.1  # that the authors add to the grid before they interpolate positions


@dataclass(frozen=True)
class VisionSize:
    """Read from the shapes of a state dict: its width, its blocks, and the side of the grid that it was trained on."""

    width: int
    depth: int
    grid: int


class VisionBlock(nn.Module):
    """A pre-norm block with a learned scale on each branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = SelfAttention(width, width // HEAD)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        self.ls1, self.ls2 = (nn.ParameterDict({"gamma": nn.Parameter(torch.ones(width))}) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1["gamma"] * self.attn(self.norm1(x))
        return x + self.ls2["gamma"] * self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class VisionTransformer(nn.Module):
    """Images (N, 3, H, W), normalised, -> class tokens (N, D); names as in the official file."""

    def __init__(self, size: VisionSize) -> None:
        super().__init__()
        self.size = size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.mask_token = nn.Parameter(torch.zeros(1, size.width))  # in the file, of no use here
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + size.grid**2, size.width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, size.width, PATCH, PATCH)})
        self.blocks = nn.ModuleList(VisionBlock(size.width) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embed["proj"](x)
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1) + self._positions(patches.shape[-1])
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, 0]

    def _positions(self, side: int) -> Tensor:
        """Those it was trained with, interpolated to a grid of side x side as the authors do."""
        grid = self.size.grid
        if side == grid:
            return self.pos_embed
        square = self.pos_embed[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
        scale = (side + OFFSET) / grid
        square = F.interpolate(square, scale_factor=(scale, scale), mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], square.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


class DINOv2Extractor:
    """The class token of 1024 numbers, float32, as dgm-eval takes it: images resized by Pillow, bicubic."""

    name, distance = "dinov2-vitl14", "fd_dinov2"
    resize = f"{SIDE} x {SIDE}, bicubic by Pillow"

    def __init__(self, weights: Path | None = None, device: str | torch.device = "cpu") -> None:
        if weights is None:
            raise DimbenchError(f"{self.name} needs weights: download {HOME} and give --extractor {self.name}:FILE")
        if not weights.is_file():
            raise DimbenchError(f"{weights} is no file that could give {self.name}; download {HOME}, and give it")
        self.sha256, self.device = digest(weights), torch.device(device)
        self.doubt = "" if self.sha256 == SHA256 else _of_others(weights, self.sha256)
        state = next(read_weights(weights, ("pos_embed",))).state
        if "pos_embed" not in state or state["pos_embed"].ndim != 3:
            raise DimbenchError(f"{weights} is no ViT of DINOv2: it has no pos_embed (1, N, D); download {HOME}")
        self.model = VisionTransformer(_size(state))
        try:
            fill(self.model, state)
        except DimbenchError as error:
            raise DimbenchError(f"{weights} is no ViT of DINOv2: {error}") from None
        self.model.to(self.device).eval().requires_grad_(False)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        return {"pool": self.model(_prepared(images).to(self.device)).cpu()}


def _of_others(weights: Path, sha256: str) -> str:
    return (
        f"{weights.name} is not the file of DINOv2's authors (its SHA-256 begins with {sha256[:8]}, not {SHA256[:8]}): "
        "figures by it compare with no published ones."
    )


def _size(state: dict[str, Tensor]) -> VisionSize:
    _, places, width = state["pos_embed"].shape
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    return VisionSize(width, depth, round((places - 1) ** 0.5))


def _prepared(images: Tensor) -> Tensor:
    """uint8 images (N, 3, H, W) as the network wants them."""
    resized = [
        np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        for image in images.cpu()
    ]
    x = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255
    return (x - x.new_tensor(MEAN).view(-1, 1, 1)) / x.new_tensor(STD).view(-1, 1, 1)
