#!/usr/bin/env bash
# torch 2.14.1, FlopCounterMode: the backward pass of a grouped convolution is billed as if it had one group.
#
# The forward pass is right: it is shared by the number of groups. Of the backward pass the gradient of the input is right
# too, and the gradient of the weights is not divided by the groups. A depthwise convolution of 64 channels has a backward
# pass of 65 forward passes, where two are executed; networks with many of them look several times dearer in training than
# they are. Transposed convolutions and those with a stride are billed the same way.
#
# Seen: backward / forward is 2 for 1 group, 9 for 8 groups and 65 for 64, for all three kinds.
# Exits with 0 where this is still so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
cd "$place"
"$place/venv/bin/python" - <<'PYTHON'
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

WIDTH = 64
KINDS = {
    "convolution": lambda groups: nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=groups),
    "convolution with stride 2": lambda groups: nn.Conv2d(WIDTH, WIDTH, 3, padding=1, stride=2, groups=groups),
    "transposed convolution": lambda groups: nn.ConvTranspose2d(WIDTH, WIDTH, 4, 2, 1, groups=groups),
}


def counted(layer):
    with FlopCounterMode(display=False) as counter:
        layer(torch.randn(1, WIDTH, 16, 16, requires_grad=True)).sum().backward()
    found = {str(operator): flops for operator, flops in counter.get_flop_counts()["Global"].items()}
    return found["aten.convolution"], found["aten.convolution_backward"]


print("torch", torch.__version__)
for kind, make in KINDS.items():
    for groups in (1, 8, 64):
        forward, backward = counted(make(groups))
        print(f"{kind}, {groups} groups: forward {forward:,}, backward {backward:,} FLOPs, {backward / forward:g} times")
        assert backward == (1 + groups) * forward, "this has changed"
PYTHON
