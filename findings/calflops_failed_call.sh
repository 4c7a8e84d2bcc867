#!/usr/bin/env bash
# calflops 0.3.2: after a call that failed, every later count in the same process is a multiple of the true one.
#
# calflops counts by putting its own functions in the place of torch's and takes them out when the call is over, but not when
# the network raises. The next count then runs through both, and the one after another failure through three. Nothing is said.
#
# Seen: of a linear layer of 8 x 8 on one row 64 multiply-adds before, 128 after one failure, 192 after two.
# Exits with 0 where this is still so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet calflops==0.3.2 torch==2.14.1 transformers==5.24.0 accelerate==1.15.0 huggingface_hub
cd "$place"
"$place/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import torch
from calflops import calculate_flops
from torch import nn


class Raises(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        raise ValueError(self.linear(x).shape)


def macs(model):
    quiet = {"print_results": False, "print_detailed": False, "output_as_string": False}
    return calculate_flops(model, args=[torch.zeros(1, 8)], **quiet)[1]


print("calflops", version("calflops"), "torch", torch.__version__)
seen = [macs(nn.Linear(8, 8))]
for _ in range(2):
    try:
        macs(Raises())
    except ValueError:
        pass
    seen.append(macs(nn.Linear(8, 8)))
print("multiply-adds of one and the same layer, before and after one and two failures:", seen)
assert seen == [64, 128, 192], "this has changed"
PYTHON
