"""A published family of three tiny variants, two of which share keys and shapes as DiT and SiT do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dimbench import backbone, presets
from dimbench.presets import Checkpoint, Shared
from dimbench.weights import recognise

ONE_LABEL = {"num_classes": 1, "label_dropout": -1}


def checkpoint(file: str, url: str, resolution: int = 8, **more: Any) -> Checkpoint:
    return Checkpoint(file=file, url=f"{url}/{file}" if url else "", layout="state dict", resolution=resolution, **more)


def install(monkeypatch: pytest.MonkeyPatch, url: str = "") -> None:
    """Let these be the registered models, their files at `url`."""
    size = {"hidden_size": 32, "depth": 1, "num_heads": 2}
    dit, sit = presets.find("dit-digits"), presets.find("sit-digits")
    files = (
        checkpoint("tiny-8.pt", url),
        checkpoint("tiny-16.pt", url, 16),
        checkpoint("tiny-faces.pt", url, config=ONE_LABEL, data="faces", fid="4.62"),
        checkpoint("tiny-churches.pt", url, original="ema.pt", config=ONE_LABEL),
        checkpoint("tiny-lost.pt", "", 32),
        checkpoint("tiny-page.pt", "", 32, page="https://page.invalid"),
    )
    tiny = (
        replace(dit, name="tiny-dit", label="Tiny/2", config={**dit.config, **size}, checkpoints=files),
        replace(sit, name="tiny-sit", config={**sit.config, **size, "learn_sigma": True}, checkpoints=()),
        replace(dit, name="tiny-deep", config={**dit.config, **size, "depth": 2}, checkpoints=()),
    )
    monkeypatch.setattr(presets, "all_presets", lambda: {preset.name: preset for preset in tiny})
    monkeypatch.setattr(presets, "shared_files", lambda: {"notes": Shared("notes", "notes", ())})
    recognise._built.cache_clear()


def state(name: str = "tiny-dit", resolution: int = 8, **options: Any) -> dict[str, torch.Tensor]:
    """Weights of a network that is not freshly made."""
    model = backbone.create_model(name, resolution=resolution, **options)
    return {key: tensor + 0.01 for key, tensor in model.state_dict().items()}


def save(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path
