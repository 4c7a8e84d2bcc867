#!/usr/bin/env bash
# torch 2.14.1: counting one product with FlopCounterMode loads the compiler, which nothing in the process uses.
#
# The first operator that reaches a TorchDispatchMode imports torch._dynamo and some 800 modules with it, so that the mode can be
# hidden from it; that takes about as long as importing torch itself. A mode is spared where its own class has the class
# method _should_skip_dynamo and that returns False: what is not to be hidden from the compiler does not load it.
#
# Seen: after FlopCounterMode around one linear layer torch._dynamo is loaded, as with a plain mode; with the method it is not.
# Exits with 0 where this is still so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.14.1 numpy
cd "$place"
cat > one.py <<'PYTHON'
import sys

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


class Plain(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Spared(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls):
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


layer, x = torch.nn.Linear(8, 8), torch.randn(2, 8)
before = len(sys.modules)
assert "torch._dynamo" not in sys.modules
with FlopCounterMode(display=False) if sys.argv[1] == "FlopCounterMode" else globals()[sys.argv[1]]():
    layer(x)
print(f"{sys.argv[1]}: torch._dynamo loaded: {'torch._dynamo' in sys.modules}, modules {before} -> {len(sys.modules)}")
sys.exit("torch._dynamo" in sys.modules)
PYTHON
for mode in FlopCounterMode Plain; do
    ! "$place/venv/bin/python" one.py "$mode"
done
"$place/venv/bin/python" one.py Spared
