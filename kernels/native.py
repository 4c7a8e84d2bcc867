"""Kernels in C++: compiled by the system's compiler at first use, kept in the cache folder, called through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from array import array
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from dimbench import paths, processor
from dimbench.errors import DimbenchError, reason
from dimbench.files import digest

# No -ffast-math: it would lose NaN, and its start-up code changes how all of the process rounds small numbers.
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"),
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-w"),
)
_HEADERS = Path(__file__).parent
_SHOWN = 1000  # characters of a compiler's message
_DIGITS = 16  # of a library's SHA-256 in its name: against damage, for loading half a file ends the process

_done: dict[Path, ctypes.CDLL | DimbenchError] = {}


_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def rows(tensor: Tensor | None, dtype: torch.dtype, kept: list[Tensor]) -> tuple[int, int, int]:
    """`Rows` of vector.h: of a (B, L, W) tensor in this type with adjacent elements in its rows; what must live as long
    is added to `kept`."""
    if tensor is None:
        return (0, 0, 0)
    batch, row, element = tensor.stride()
    if element != 1 or tensor.dtype is not dtype:
        tensor = adjacent(tensor, dtype)
        batch, row, _ = tensor.stride()
    kept.append(tensor)
    return tensor.data_ptr(), batch, row


def why_not(by_position: Sequence[Tensor | None], others: Sequence[Tensor | None]) -> str | None:
    """Why these tensors are not for a kernel in C++, or None; `others` are converted to float32."""
    for tensor in (*by_position, *others):
        if tensor is not None and not tensor.is_cpu:
            return f"it runs on the processor and a tensor lies on {tensor.device}"
    for tensor in by_position:
        if tensor is not None and tensor.dtype not in _NAMES:
            return f"it takes float32 and bfloat16, not {str(tensor.dtype).removeprefix('torch.')}"
    return None


def common_type(*tensors: Tensor | None) -> torch.dtype:
    """The type of all, else float32."""
    types = {tensor.dtype for tensor in tensors if tensor is not None}
    return types.pop() if len(types) == 1 else torch.float32


def adjacent(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor in this type, its rows' elements side by side; a copy only where it must be."""
    if tensor.dtype is not dtype:
        tensor = tensor.to(dtype)
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def call(source: Path, function: str, dtype: torch.dtype, *structs: Sequence[int]) -> None:
    """Runs `function`_`dtype` of the library of `source` on as many threads as torch has.

    A struct is given as its fields in their order, each a number or an address of eight bytes.
    """
    blocks = [array("q", struct) for struct in structs]
    run = _function(source, function, dtype, len(blocks))
    run(*[block.buffer_info()[0] for block in blocks], torch.get_num_threads())


@cache
def _function(source: Path, name: str, dtype: torch.dtype, structs: int) -> Callable[..., None]:
    found = getattr(load(source), f"{name}_{_NAMES[dtype]}")
    found.argtypes, found.restype = [*[ctypes.c_void_p] * structs, ctypes.c_int], None
    return found


def constant(source: Path, name: str) -> int:
    """A number that the library of `source` was compiled with. Raises as `load` does."""
    return _constant(load(source), name)


@cache
def _constant(library: ctypes.CDLL, name: str) -> int:
    return getattr(library, name)()


def load(source: Path) -> ctypes.CDLL:
    """The shared library of `source`, compiled unless the cache has it.

    Raises DimbenchError where there is no compiler, it fails, or the cache cannot be written; once tried, the answer
    stays the same for this process.
    """
    if source not in _done:
        try:
            _done[source] = ctypes.CDLL(str(_compiled(source)))
        except DimbenchError as error:
            _done[source] = error
        except OSError as error:
            _done[source] = DimbenchError(f"the compiled kernel cannot be loaded ({error}); empty the cache folder")
    found = _done[source]
    if isinstance(found, DimbenchError):
        raise found
    return found


def _compiled(source: Path) -> Path:
    compiler = find_compiler()
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    texts = [file.read_text() for file in (source, *sorted(_HEADERS.glob("*.h")))]
    key = hashlib.sha256("\0".join([compiler, version, processor.features(), *FLAGS, *texts]).encode()).hexdigest()[:16]
    folder = _own(paths.cache_folder() / "kernels")
    stem = f"{source.parent.name}-{key}"
    for file in sorted(folder.glob(f"{stem}-*.so")):
        if file.stem == f"{stem}-{digest(file)[:_DIGITS]}":
            return file
        file.unlink(missing_ok=True)  # damaged; another process may have found that, too
    return _compile(compiler, source, folder, stem)


def _own(folder: Path) -> Path:
    """The folder, made where it is missing. DimbenchError where it cannot be written or is another user's, whose code
    must not run here."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        owner = folder.stat().st_uid
    except OSError as error:
        raise _not_kept(folder, error) from None
    if owner != os.getuid():
        raise DimbenchError(
            f"{folder} belongs to another user (number {owner}), and code that lies there is not run; set "
            "DIMBENCH_CACHE to a folder of your own"
        )
    return folder


def find_compiler() -> str:
    """Where the C++ compiler is. DimbenchError where there is none."""
    wanted = os.environ.get("CXX")
    names = [wanted] if wanted else ["c++", "g++", "clang++"]
    for name in names:
        if found := shutil.which(name):
            return found
    raise DimbenchError(f"no C++ compiler was found (looked for {', '.join(names)}); install one or set CXX")


def _compile(compiler: str, source: Path, folder: Path, stem: str) -> Path:
    """Writes elsewhere and renames what is safe on disk, so that processes that compile at once, and those that run
    after a crash, do not see half a file. The name ends in the SHA-256 of what is in it."""
    try:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            fresh = Path(place) / f"{stem}.so"
            command = [compiler, *FLAGS, f"-I{_HEADERS}", str(source), "-o", str(fresh)]
            ran = subprocess.run(command, capture_output=True, text=True)
            if ran.returncode:
                message = (ran.stderr or ran.stdout).strip()[:_SHOWN]
                raise DimbenchError(f"{compiler} could not compile {source.name} of {source.parent.name}: {message}")
            with fresh.open("rb") as file:
                os.fsync(file.fileno())
            return fresh.replace(folder / f"{stem}-{digest(fresh)[:_DIGITS]}.so")
    except OSError as error:
        raise _not_kept(folder, error) from None


def _not_kept(folder: Path, error: OSError) -> DimbenchError:
    return DimbenchError(
        f"compiled kernels cannot be kept in {folder} ({reason(error)}); set DIMBENCH_CACHE to a folder that can be "
        "written"
    )
