"""CLIP score: how near pictures lie to the texts that they were drawn from (Hessel et al. 2021, arXiv 2104.08718)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dimbench.diffusers_networks.loading import quietly
from dimbench.errors import DimbenchError, UsageError, reason
from dimbench.quality.clip import HOME
from dimbench.quality.feature_rows import AT_ONCE, Table
from dimbench.quality.pretrained import pretrained

SCALE = 100.0  # as text-to-image papers print it; Hessel's own is 2.5


def clip_score(images: Table, texts: Tensor) -> float:
    """The mean of 100 max(cos, 0) over pictures and their texts, of embeddings of length 1, (N, D) each."""
    near = [(rows * part).sum(dim=1) for rows, part in zip(images.split(AT_ONCE), texts.split(AT_ONCE), strict=True)]
    return SCALE * torch.cat(near).double().clamp(min=0).mean().item()


def read_prompts(file: Path) -> list[str]:
    """The lines of a file of texts, one for each image in their order."""
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--prompts {file} cannot be read ({reason(error)}); give a file of text") from None


@torch.no_grad()
def embedded(texts: list[str], folder: Path, device: str | torch.device = "cpu") -> Tensor:
    """Embeddings (N, D) of length 1 by the text half of the CLIP in a folder that transformers saved; texts are cut at
    the length that it knows. DimbenchError where it is not there."""
    model = pretrained("CLIPTextModelWithProjection", folder, "CLIP for texts", HOME).to(device)
    try:
        from transformers import CLIPTokenizer

        with quietly():
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library of tokens has errors of its own
        raise DimbenchError(f"{folder} gives no CLIP for texts ({reason(error)}); download {HOME}") from None
    most, found = model.config.max_position_embeddings, []
    for start in range(0, len(texts), AT_ONCE):
        tokens = tokenizer(texts[start : start + AT_ONCE], padding="max_length", max_length=most, truncation=True,
                           return_tensors="pt").to(device)  # fmt: skip
        found.append(normalize(model(**tokens).text_embeds, dim=1).cpu())
    return torch.cat(found)
