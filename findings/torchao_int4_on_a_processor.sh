#!/usr/bin/env bash
# torchao 0.18.0 and torch 2.14.1: on a processor, weights of 4 bits are fast in bfloat16 alone.
#
# torchao's int4 weights for processors take inputs in float32, float16 and bfloat16, and all three give what the rounded
# weights should. But torch's operator behind them has a vectorised product for bfloat16 only: in the other two it goes
# through one element after the other, without a word. A network in float32, which is what one has on a processor, becomes
# a hundred times slower by a method whose name promises speed; in bfloat16 one row takes less time than by the plain
# layer, and many rows take several times as much.
#
# Seen, one thread of an Intel Xeon with AMX, 384 to 1,536 features, 256 rows: 230 ms in float32 where the plain layer takes 1.8,
# 380 in float16 where it takes 1.8, 3.6 in bfloat16 where it takes 0.4.
# Exits with 0 where 256 rows in float32 and in float16 take more than ten times as long as in bfloat16.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.14.1 torchao==0.18.0
cd "$place"
"$place/venv/bin/python" - <<'PYTHON' 2>/dev/null
import copy
from statistics import median
from time import process_time

import torch
import torchao
from torch import nn
from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig
from torchao.quantization import quantize_


def milliseconds(call):
    seconds = []
    for _ in range(7):
        begun = process_time()
        call()
        seconds.append(process_time() - begun)
    return 1000 * median(seconds)


print("torch", torch.__version__, "torchao", torchao.__version__)
torch.manual_seed(0)
torch.set_num_threads(1)
whole = nn.Sequential(nn.Linear(384, 1536, bias=False))
inputs = torch.randn(256, 384)
taken = {}
with torch.inference_mode():
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        plain, x = copy.deepcopy(whole).to(dtype), inputs.to(dtype)
        rounded = copy.deepcopy(plain)
        quantize_(rounded, PrototypeInt4WeightOnlyConfig(group_size=32, set_inductor_config=False))
        error = ((rounded(x) - plain(x)).float().norm() / plain(x).float().norm()).item()
        assert error < 0.15, "the products differ by more than four bits do"
        for rows in (1, 256):
            ours, theirs = (milliseconds(lambda: layer(x[:rows])) for layer in (plain, rounded))
            taken[dtype, rows] = theirs
            print(f"{dtype}, {rows} rows: plain {ours:.2f} ms, int4 {theirs:.2f} ms, relative error {error:.3f}")
slowest = min(taken[torch.float32, 256], taken[torch.float16, 256]) / taken[torch.bfloat16, 256]
print(f"float32 and float16 take at least {slowest:.0f} times as long as bfloat16")
assert slowest > 10, "this has changed"
PYTHON
