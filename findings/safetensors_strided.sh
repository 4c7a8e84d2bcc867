#!/usr/bin/env bash
# safetensors 0.8.0: save_file refuses weights that share memory, are transposed or lie as channels_last.
#
# torch.save takes each of them. So a state dict with tied weights, and one of a convolutional network that was moved to
# channels_last for speed, as many are before training, cannot be saved until every tensor is made contiguous and tied ones
# are copied or left out. Parts of one tensor that do not overlap are taken, though they share its storage.
#
# Seen: "share memory" for tied weights, "non contiguous" for the transposed and for channels_last; two rows of one matrix
# are saved and come back equal. Exits with 0 where this is still so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.14.1 safetensors==0.8.0 numpy==2.4.6
cd "$place"
"$place/venv/bin/python" - <<'PYTHON'
import safetensors
import torch
from safetensors.torch import load_file, save_file

print("safetensors", safetensors.__version__, "torch", torch.__version__)
matrix = torch.arange(6.0).reshape(2, 3)
image = torch.zeros(1, 3, 4, 4).to(memory_format=torch.channels_last)
cases = (
    ("tied", {"a": matrix, "b": matrix}, "share memory"),
    ("transposed", {"a": matrix.T}, "non contiguous"),
    ("channels_last", {"a": image}, "non contiguous"),
    ("two rows of one", {"a": matrix[:1], "b": matrix[1:]}, None),
)
for name, state, why in cases:
    torch.save(state, "x.pt")
    try:
        save_file(state, "x.safetensors")
        said = None
    except (RuntimeError, ValueError) as error:
        said = str(error)
    print(f"{name}: {'saved' if said is None else said.split('.')[0].strip()}")
    assert (said is None) == (why is None) and (why or "") in (said or ""), "this has changed"
back = load_file("x.safetensors")
assert torch.equal(back["a"], matrix[:1]) and torch.equal(back["b"], matrix[1:])
PYTHON
