"""One file per command."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "decoding":  # scripts know it by this name
        from dimbench.sampling import decoding

        return decoding
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
