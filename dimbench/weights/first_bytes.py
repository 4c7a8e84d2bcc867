"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

import zipfile
from enum import Enum
from pathlib import Path

from dimbench.errors import DimbenchError, plain

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
"""Of files that are called weights; what they are, their bytes say."""

_LENGTH = 512  # bytes: a tar archive names itself at byte 257
_HEADER = 8  # bytes of the length before the JSON of a safetensors file

_OTHERS = (
    (
        b"version https://git-lfs",
        "is a Git LFS pointer and not the file it stands for; run `git lfs pull` where it lies",
    ),
    (b"\x1f\x8b", "is compressed with gzip; unpack it first"),
    (b"BZh", "is compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ", "is compressed with xz; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed with Zstandard; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it first"),
    (b"Rar!", "is a RAR archive; unpack it first"),
    (b"GGUF", "is a GGUF file, whose weights are quantised; give the checkpoint it was made from"),
    (b"\x89HDF", "is an HDF5 file, not torch's; give a .pt or .safetensors file"),
    (b"\x93NUMPY", "is a NumPy array, not a checkpoint; give a .pt or .safetensors file"),
)


class FileKind(Enum):
    """How a file of weights is to be read."""

    SAFETENSORS = "safetensors"
    TORCH = "torch"
    JSON = "JSON"


def kind_of(path: Path) -> FileKind:
    """How to read the file. DimbenchError names what it is where it cannot hold weights, and what to do."""
    try:
        with path.open("rb") as file:
            head = file.read(_LENGTH)
    except OSError as error:
        raise DimbenchError(
            f"{path} cannot be opened ({plain(error.strerror)}); make it readable, or copy it"
        ) from None
    if fault := _fault(path, head):
        raise DimbenchError(f"{path} {fault}")
    if head[_HEADER : _HEADER + 1] == b"{" and not head.startswith(b"PK\x03\x04"):
        return FileKind.SAFETENSORS
    return FileKind.JSON if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") else FileKind.TORCH


def _fault(path: Path, head: bytes) -> str:
    if not head:
        return "is empty; fetch it again"
    for start, fault in _OTHERS:
        if head.startswith(start):
            return fault
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page, not weights; open its address in a browser and save the file behind it"
    if head[257:262] == b"ustar":
        return "is a tar archive; unpack it and give the file or folder inside"
    return _archive_fault(path) if head.startswith(b"PK\x03\x04") else ""


def _archive_fault(path: Path) -> str:
    """What is wrong with a zip archive that torch did not write; damaged ones are torch's to refuse."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return ""
    if any(name.endswith("/constants.pkl") for name in names):
        return "is a TorchScript program; save the state dict of its module instead"
    if names and all(name.endswith(".npy") for name in names):
        return "is an npz of arrays, not a checkpoint; give a .pt or .safetensors file"
    if not any(name.endswith("data.pkl") for name in names):
        return "is a zip archive that torch did not write; unpack it and give the file or folder inside"
    return ""
