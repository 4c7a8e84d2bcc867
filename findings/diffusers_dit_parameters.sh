#!/usr/bin/env bash
# diffusers 0.42.1: its DiT-XL/2 has 749.8 M parameters, not the 675 M of the paper and of the authors' code.
#
# Each of its 28 blocks embeds timestep and label for itself: 28 copies of the table of 1,001 labels and of the two layers
# for the time, which the published conversion fills with one and the same weights, and which all run in each pass. Sizes
# of files, memory, parameter counts and what a fine-tuning trains differ from the model of the paper by a ninth. What is
# left when copies are counted once is the paper's figure.
#
# Seen: 749,808,016 parameters, and 674,816,272 without the 27 further copies of 2,777,472 each.
# Exits with 0 where this is still so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.14.1 diffusers==0.42.1
cd "$place"
"$place/venv/bin/python" - <<'PYTHON'
import diffusers
import torch

with torch.device("meta"):
    model = diffusers.DiTTransformer2DModel()  # by default the configuration of DiT-XL/2


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


blocks = model.transformer_blocks
embedders = [block.norm1.emb for block in blocks]
whole, copies = size(model), sum(map(size, embedders[1:]))
print("diffusers", diffusers.__version__, "blocks", len(blocks), "width", model.inner_dim)
print(f"parameters {whole:,}; timestep and label embedders in each of {len(embedders)} blocks, {size(embedders[0]):,} each")
print(f"without {len(embedders) - 1} further copies {whole - copies:,}")
assert len({id(parameter) for each in embedders for parameter in each.parameters()}) == 28 * 5, "they are shared now"
assert whole == 749_808_016, "this has changed"
PYTHON
