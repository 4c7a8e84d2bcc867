"""Arrays in .npz archives that others made: read without running anything, and every fault as one sentence."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from dimbench.errors import DimbenchError, UsageError

ENCRYPTED = 1  # bit of a member's flags
NPY = b"\x93NUMPY"
WIDEST = 8  # bytes of a number that torch can hold


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Inside, whatever zipfile, its decompressors and numpy raise for a damaged or exotic archive is one sentence."""
    try:
        yield
    except DimbenchError:
        raise
    except Exception as error:
        raise _fault(path, error) from error


def _fault(path: Path, error: Exception) -> DimbenchError:
    try:
        with path.open("rb") as file:
            start = file.read(len(NPY))
        if start == NPY:
            return UsageError(f"{path} is a single array (.npy) and no npz: store it with np.savez.")
        with zipfile.ZipFile(path) as archive:
            if any(member.flag_bits & ENCRYPTED for member in archive.infolist()):
                return UsageError(f"{path} is encrypted: give an npz without a password.")
    except Exception:  # damaged beyond its list of members
        pass
    if isinstance(error, NotImplementedError):
        return UsageError(f"{path} is compressed in a way that is not known here: store it again with np.savez.")
    return DimbenchError(f"{path} cannot be read as an npz, so it was probably cut off: make or download it again.")


def names(path: Path) -> list[str]:
    """What the arrays of an npz are called."""
    with reading(path), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def arrays(path: Path, wanted: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Those of the wanted arrays that an npz holds."""
    with reading(path), np.load(path, allow_pickle=False) as file:
        return {name: np.array(file[name]) for name in wanted if name in file.files}


@contextmanager
def opened(path: Path, name: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], bool, np.dtype[Any]]]:
    """The bytes of an array, after its header, and what that says: shape, whether columns run fastest, dtype."""
    with reading(path), zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        yield file, *read(file)


def numbers(array: np.ndarray, what: str) -> np.ndarray:
    """Real numbers as torch takes them: of any byte order, and of at most 64 bits. `what` begins the sentence of the
    UsageError for anything else."""
    if array.dtype.kind not in "iuf":
        raise UsageError(f"{what} is of {array.dtype} where real numbers were expected: make or download it again.")
    wide = array.dtype.kind == "u" or array.dtype.itemsize > WIDEST
    return array.astype(np.float64 if wide else array.dtype.newbyteorder("="))
