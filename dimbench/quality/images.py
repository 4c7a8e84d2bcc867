"""Sets of images on disk, read batch by batch: a folder of pictures, or the npz of ADM's evaluation suite."""

from __future__ import annotations

import json
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dimbench.data import digits
from dimbench.data.pixels import to_uint8
from dimbench.errors import DimbenchError, UsageError

LOSSLESS = {".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff"}
LOSSY = {".jpg", ".jpeg", ".webp"}
ARRAY = "arr_0"
DRAWN = ("samples.npz", "manifest.json")  # what `dimbench sample` leaves in a folder: images and how they were drawn

BROKEN_ZIP = (OSError, EOFError, TypeError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, kw_only=True)
class Images(ABC):
    """`count` images of `size` (height, width) pixels at `path`; `lossy` of them in a format that loses some of it."""

    path: Path
    count: int
    size: tuple[int, int]
    lossy: int = 0

    @abstractmethod
    def batches(self, n: int) -> Iterator[Tensor]:
        """uint8 (n, 3, H, W) or (n, 1, H, W), in order. DimbenchError where a picture turns out to be damaged."""


def open_images(path: Path) -> Images:
    """The images of a folder (its samples.npz, else the pictures in it and below) or of an npz, as far as headers tell.

    Raises UsageError for a path of another kind, an empty set or images of mixed sizes, DimbenchError for damage.
    """
    if path.is_dir():
        drawn = path / DRAWN[0]
        return open_npz_images(drawn) if drawn.is_file() else _open_folder(path)
    if not path.is_file():
        raise UsageError(f"There are no images at {path}: give a folder of pictures or an npz.")
    if path.suffix.lower() != ".npz":
        raise UsageError(f"{path} is neither a folder of pictures nor an npz: give one of these.")
    return open_npz_images(path)


def how_drawn(place: Path) -> dict[str, Any]:
    """The settings with which `dimbench sample` filled the folder `place`, or that of the file `place`; else empty."""
    try:
        said = json.loads(((place if place.is_dir() else place.parent) / DRAWN[1]).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) and "model" in said else {}


@dataclass(frozen=True, kw_only=True)
class FolderImages(Images):
    """Pictures in the order of their paths; grey ones and palettes become RGB, transparency is dropped."""

    files: tuple[Path, ...]

    def batches(self, n: int) -> Iterator[Tensor]:
        for start in range(0, self.count, n):
            yield torch.stack([_pixels(file) for file in self.files[start : start + n]])


def _open_folder(path: Path) -> FolderImages:
    known = LOSSLESS | LOSSY
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in known and file.name[0] != ".")
    if not files:
        raise UsageError(f"{path} holds no pictures ({', '.join(sorted(known))}): give a folder that does, or an npz.")
    first = _size_of(files[0])
    for file in files[1:]:
        if (found := _size_of(file)) != first:
            raise UsageError(
                f"{path} holds images of mixed sizes, {files[0].name} of {first[0]} x {first[1]} and {file.name} of "
                f"{found[0]} x {found[1]} pixels: give images of one size."
            )
    lossy = sum(file.suffix.lower() in LOSSY for file in files)
    return FolderImages(path=path, count=len(files), size=first, lossy=lossy, files=tuple(files))


def _size_of(file: Path) -> tuple[int, int]:
    try:
        with Image.open(file) as image:
            return image.height, image.width
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise _unreadable(file) from error


def _pixels(file: Path) -> Tensor:
    try:
        with Image.open(file) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    except (OSError, SyntaxError, zlib.error) as error:  # what Pillow raises for damage within a file
        raise _unreadable(file) from error


def _unreadable(file: Path) -> DimbenchError:
    return DimbenchError(f"{file} cannot be read as a picture, so it was probably cut off: make it again or remove it.")


@dataclass(frozen=True, kw_only=True)
class DigitImages(Images):
    """The embedded digits of one split, grey, 8 x 8."""

    split: digits.Split

    def batches(self, n: int) -> Iterator[Tensor]:
        return iter(to_uint8(digits.load(self.split)[0]).split(n))


def digit_images(split: digits.Split) -> DigitImages:
    """The real digits of a split."""
    count = len(digits.load(split)[1])
    return DigitImages(path=digits.FILE, count=count, size=(digits.SIZE, digits.SIZE), split=split)


@dataclass(frozen=True, kw_only=True)
class NpzImages(Images):
    """The array arr_0, uint8 (N, H, W, C), read from the archive without being held in memory."""

    channels: int

    def batches(self, n: int) -> Iterator[Tensor]:
        shape = (*self.size, self.channels)
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{ARRAY}.npy") as file:
                _header(file)
                for start in range(0, self.count, n):
                    rows = min(n, self.count - start)
                    data = np.frombuffer(file.read(rows * prod(shape)), np.uint8).reshape(rows, *shape)
                    yield torch.from_numpy(data.copy()).permute(0, 3, 1, 2)
        except BROKEN_ZIP as error:
            raise cut_off(self.path) from error


def open_npz_images(path: Path) -> NpzImages:
    """The images of an npz. Raises UsageError where it holds none that can be used, DimbenchError for damage."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if ARRAY not in names:
                raise UsageError(
                    f"{path} holds {', '.join(names) or 'nothing'} and no images ({ARRAY}): give a folder of pictures "
                    "or an npz of images."
                )
            with archive.open(f"{ARRAY}.npy") as file:
                shape, in_columns, dtype = _header(file)
    except UsageError:
        raise
    except BROKEN_ZIP as error:
        raise cut_off(path) from error
    if dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or in_columns:
        raise UsageError(
            f"{path} holds {ARRAY} of {dtype} {shape} where uint8 images (N, H, W, 3) were expected: "
            "put the channels last and round to bytes."
        )
    if not shape[0]:
        raise UsageError(f"{path} holds no images: its {ARRAY} is empty.")
    return NpzImages(path=path, count=shape[0], size=(shape[1], shape[2]), channels=shape[3])


def cut_off(path: Path) -> DimbenchError:
    """The error of an archive that ends too early or is none."""
    return DimbenchError(f"{path} cannot be read as an npz, so it was probably cut off: make or download it again.")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns run fastest, dtype."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)
