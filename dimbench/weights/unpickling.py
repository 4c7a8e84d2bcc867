"""Files that torch saved, read without executing any of what they hold."""

from __future__ import annotations

import pickle
import re
import warnings
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dimbench.errors import DimbenchError, plain

_NUMBERS = "biuf"  # numpy's kinds of bool, integers and floats


class _NumberType:
    """In the place of numpy.dtype: the code of a number and its byte order, and nothing that numpy would act on."""

    def __init__(self, code: str, *_: bool) -> None:
        self.dtype = np.dtype(code)
        if self.dtype.kind not in _NUMBERS:
            raise pickle.UnpicklingError(f"Unsupported global: GLOBAL numpy.dtype({code})")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


def _number(kind: _NumberType, content: bytes) -> int | float | bool:
    """In the place of numpy's scalar: the plain number."""
    return np.frombuffer(content, kind.dtype, count=1)[0].item()


# Official training checkpoints carry their command line and their last loss beside the weights.
_ALLOWED: list[Any] = [
    Namespace,
    (_NumberType, "numpy.dtype"),
    (_number, "numpy._core.multiarray.scalar"),
    (_number, "numpy.core.multiarray.scalar"),
]


def read_pickle(path: Path) -> Mapping[Any, Any]:
    """The dictionary in the file: tensors, numbers and plain containers.

    DimbenchError where it holds anything else, nothing of which is then executed, or is damaged.
    """
    try:
        with warnings.catch_warnings(), path.open("rb") as file, torch.serialization.safe_globals(_ALLOWED):
            warnings.simplefilter("ignore")  # of pickle's protocols
            content = torch.load(file, map_location="cpu", weights_only=True)  # of a path it would heed the suffix
    except pickle.UnpicklingError as error:
        raise DimbenchError(_refusal(path, str(error))) from None
    except Exception as error:  # truncated zip, not a zip, bad header: torch has many errors of its own
        raise DimbenchError(damaged(path, error)) from None
    if not isinstance(content, Mapping):
        raise DimbenchError(
            f"{path} holds a {type(content).__name__}, not a dictionary of tensors; save the state dict of the network"
        )
    return content


def damaged(path: Path, error: BaseException) -> str:
    """The sentence for a file that its library could not read."""
    reason = plain(error).partition(". ")[0] or type(error).__name__
    if re.search(r"weights_only|torch\.load|pickle_module", reason):  # advice to read it unsafely
        reason = type(error).__name__
    return f"{path} cannot be read as a checkpoint ({reason}); it may be cut off: fetch it again and compare its size"


def _refusal(path: Path, said: str) -> str:
    named = re.search(r"GLOBAL ([\w.()<>]+)", said) or re.search(r"``(torch\.[\w.]+)`` must be imported", said)
    if named is None and not re.search(r"[Gg]lobal|function|create new object|only build", said):
        return f"{path} cannot be read as a checkpoint (its pickle is damaged); it may be cut off: fetch it again"
    what = f" ({plain(named[1])})" if named else ""
    return (
        f"{path} holds more than tensors and was not opened{what}; re-save its state dict alone, or as safetensors, "
        "where it was made"
    )
