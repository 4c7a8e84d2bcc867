"""LPIPS: how far two pictures lie apart in VGG16's features, weighed as people judge (Zhang et al. 2018)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from dimbench.errors import DimbenchError
from dimbench.files import digest
from dimbench.quality.inception import check_official
from dimbench.quality.vgg import VGG_HOME, VGG_SHA256
from dimbench.weights.opening import open_checkpoint

HOME = "https://github.com/richzhang/PerceptualSimilarity/blob/master/lpips/weights/v0.1/vgg.pth"
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # widths of VGG16's convolutions
EPS = 1e-10
MEAN, STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pictures in [-1, 1]


class LPIPS:
    """(real, made), uint8 (N, 3, H, W) -> (N,): version 0.1 by the VGG16 of torchvision's file `vgg`, whose features at
    the end of each stage are weighed by the authors' `weights`, of which `sha256` is. DimbenchError for other files."""

    def __init__(self, vgg: Path, weights: Path, device: str | torch.device = "cpu") -> None:
        check_official(vgg, VGG_SHA256, "VGG16", f"download {VGG_HOME} and give its place with --vgg.")
        self.sha256, self.device = digest(weights), torch.device(device)
        scales = open_checkpoint(weights).content
        names = [f"lin{stage}.model.1.weight" for stage in range(len(STAGES))]
        sizes = [tuple(getattr(scales.get(name), "shape", ())) for name in names]
        if sizes != [(1, widths[-1], 1, 1) for widths in STAGES]:
            raise DimbenchError(f"{weights} holds no weights of LPIPS by VGG16; download {HOME}")
        known = open_checkpoint(vgg).content
        self.stages = _stages()
        convolutions = [layer for layer in self.stages.modules() if isinstance(layer, nn.Conv2d)]
        numbers = sorted({int(name.split(".")[1]) for name in known if name.startswith("features.")})
        for layer, number in zip(convolutions, numbers, strict=True):
            layer.load_state_dict({leaf: known[f"features.{number}.{leaf}"] for leaf in ("weight", "bias")})
        self.stages.eval().requires_grad_(False).to(self.device)
        self.scales = [scales[name].float().to(self.device) for name in names]

    @torch.no_grad()
    def __call__(self, real: Tensor, made: Tensor) -> Tensor:
        x = torch.cat([real, made]).to(self.device).float() / 127.5 - 1
        x = (x - x.new_tensor(MEAN).view(-1, 1, 1)) / x.new_tensor(STD).view(-1, 1, 1)
        apart = torch.zeros(len(real), device=self.device)
        for stage, scale in zip(self.stages, self.scales, strict=True):
            x = stage(x)
            one, other = normalize(x, dim=1, eps=EPS).chunk(2)
            apart += ((one - other).square() * scale).sum(dim=1).mean(dim=(1, 2))
        return apart.cpu()


def _stages() -> nn.Sequential:
    """VGG16's convolutions, each stage but the first at half the size of the one before."""
    stages: list[nn.Module] = []
    inputs = 3
    for widths in STAGES:
        layers: list[nn.Module] = [nn.MaxPool2d(2)] if stages else []
        for width in widths:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        stages.append(nn.Sequential(*layers))
    return nn.Sequential(*stages)
