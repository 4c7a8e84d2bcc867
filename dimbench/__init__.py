"""dimbench: compare diffusion backbones under one stated rule."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

# In a checkout, kernels/ and presets/ lie beside this package; in a wheel, inside it.
if not (Path(__file__).parent / "kernels").is_dir():
    __path__.append(str(Path(__file__).parent.parent))

_PUBLIC = {
    "DimbenchError": "dimbench.errors",
    "choose": "dimbench.verbs",
    "compare": "dimbench.verbs",
    "count": "dimbench.verbs",
    "create_model": "dimbench.backbone",
    "fid": "dimbench.verbs",
    "frontier": "dimbench.verbs",
    "list_models": "dimbench.backbone",
    "load_checkpoint": "dimbench.weights.checkpoints",
    "plot": "dimbench.verbs",
    "sample": "dimbench.verbs",
    "table": "dimbench.papers.frame",
}

__all__ = [*_PUBLIC, "__version__", "bench", "results"]


def __dir__() -> list[str]:
    """What a notebook offers behind `dimbench.`"""
    return __all__


def __getattr__(name: str) -> Any:
    """Load a public name or a room on first use, so that importing dimbench stays cheap."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    if find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
