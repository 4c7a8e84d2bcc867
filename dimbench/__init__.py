"""dimbench: compare diffusion backbones under one stated rule."""

from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

# In a checkout, kernels/ and presets/ lie beside this package; in a wheel, inside it.
if not (Path(__file__).parent / "kernels").is_dir():
    __path__.append(str(Path(__file__).parent.parent))

_PUBLIC = {
    "DimbenchError": "dimbench.errors",
    "create_model": "dimbench.backbone",
    "list_models": "dimbench.backbone",
    "load_checkpoint": "dimbench.backbone",
    "table": "dimbench.papers.frame",
}

__all__ = ["DimbenchError", "__version__", "create_model", "list_models", "load_checkpoint", "table"]


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that importing dimbench stays cheap."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
