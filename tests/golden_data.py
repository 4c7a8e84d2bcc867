"""Reads tests/golden: outputs of the official implementations under formula weights (tests/formula.py)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests import formula

GOLDEN = Path(__file__).parent / "golden"


def card(path: str) -> dict[str, Any]:
    """The JSON description `path` (relative to tests/golden)."""
    return json.loads((GOLDEN / path).read_text())


def arrays(path: str) -> dict[str, torch.Tensor]:
    """All arrays of the npz `path` (relative to tests/golden) as tensors."""
    with np.load(GOLDEN / path) as file:
        return {name: torch.from_numpy(np.array(file[name])) for name in file.files}


def unit(name: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(formula.unit(name, shape))


def latents(*shape: int) -> torch.Tensor:
    return torch.from_numpy(formula.latents(shape))


def noise(k: int, shape: tuple[int, ...]) -> torch.Tensor:
    """The standard normal stand-in of the k-th draw, as every golden trajectory uses it."""
    return unit(f"noise.{k}", *shape) * math.sqrt(3.0)


def fill(module: torch.nn.Module, fixed: tuple[str, ...] = ()) -> torch.nn.Module:
    """Load the formula's weights into `module`, strictly except for what it computes itself."""
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    state = {name: torch.from_numpy(np.asarray(a)) for name, a in formula.formula_state(shapes, fixed).items()}
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert set(missing) == set(fixed)
    assert not unexpected
    return module


def relative_error(ours: torch.Tensor, golden: torch.Tensor) -> float:
    """max |ours - golden| / max |golden|."""
    assert ours.shape == golden.shape, (ours.shape, golden.shape)
    return ((ours.double() - golden.double()).abs().max() / golden.double().abs().max()).item()
