"""The rule that bears fvcore's name gives fvcore's figure, whatever the network."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
import torchvision.models as vision
from torch import nn

from dimbench.counting.bill import trace
from dimbench.counting.rules import RULES
from dimbench.meta import build

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "batch norm, pooled": lambda: vision.resnet18(),
    "depthwise": lambda: vision.mobilenet_v3_small(),
    "layer norm, no class token": lambda: vision.convnext_tiny(),
    "windows": lambda: vision.swin_t(),
    "grouped": lambda: vision.regnet_y_400mf(),
    "fused attention": lambda: vision.VisionTransformer(64, 16, 2, 4, 64, 128),
    "weights wanted": lambda: nn.Sequential(Tokens(), Attending()),
    "other norms": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.InstanceNorm2d(8), nn.InstanceNorm2d(8, affine=True),
        nn.GroupNorm(2, 8, affine=False), nn.BatchNorm2d(8, affine=False), nn.Upsample(scale_factor=2),
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.AdaptiveAvgPool2d(3), nn.AdaptiveAvgPool2d(1),
    ),
}  # fmt: skip


class Tokens(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2).mT[:, :20].repeat(1, 1, 4)


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x, x, x)[0]


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_rule_is_fvcore_s_own_figure(name: str, training: bool) -> None:
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    shape = (2, 3, 64, 64)
    analysis = FlopCountAnalysis(NETWORKS[name]().train(training), (torch.zeros(shape),))
    analysis.unsupported_ops_warnings(False).tracer_warnings("none").uncalled_modules_warnings(False)
    model = build(NETWORKS[name]).train(training)
    bill = trace(model, ([torch.empty(shape, device="meta")], {}), 2)
    assert RULES["fvcore"].macs(bill) == analysis.total()


def test_the_figure_of_vit_b_16() -> None:
    model = build(vision.vit_b_16).eval()
    bill = trace(model, ([torch.empty(1, 3, 224, 224, device="meta")], {}), 1)
    assert RULES["fvcore"].macs(bill) == 16_867_412_736
