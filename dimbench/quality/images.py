"""Sets of images on disk, read batch by batch: a folder of pictures, or the npz of ADM's evaluation suite."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimbench.data import digits
from dimbench.data.pixels import to_uint8
from dimbench.errors import UsageError
from dimbench.progress import doing
from dimbench.quality import archives, pictures

ARRAY = "arr_0"
END = 512  # bytes of a file
DRAWN = "samples.npz"  # what `dimbench sample` leaves in a folder


@dataclass(frozen=True, kw_only=True)
class Images(ABC):
    """`count` images of `size` (height, width) pixels at `path`, which lies in `files`; how many of them are stored
    with loss, have 16 bits a channel, are partly transparent, or are turned by their orientation tag; and how many
    pictures of `others` kinds lie beside them."""

    path: Path
    count: int
    size: tuple[int, int]
    files: tuple[Path, ...]
    lossy: int = 0
    deep: int = 0
    transparent: int = 0
    turned: int = 0
    others: int = 0

    @abstractmethod
    def batches(self, n: int, first: int = 0, every: int = 1) -> Iterator[Tensor]:
        """uint8 (n, 3, H, W) or (n, 1, H, W), in order; of all batches those from `first` on, each so many-th.
        DimbenchError where a picture turns out to be damaged."""

    @property
    def listing(self) -> str:
        """A digest of the names and sizes of the files, and of their ends, where PNG and npz have their checksums."""
        whole = sha256()
        for file in self.files:
            size = file.stat().st_size
            whole.update(f"{os.path.relpath(file, self.path)} {size}\n".encode(errors="surrogateescape"))
            with file.open("rb") as content:
                content.seek(max(0, size - END))
                whole.update(content.read(END))
        return whole.hexdigest()[:16]

    def doubts(self, whose: str) -> list[str]:
        """A sentence for each thing that others may do in another way; `whose` begins it."""
        found = {
            "are stored with loss (JPEG or WebP): their artefacts change FID, so store PNG": self.lossy,
            "have 16 bits a channel and were rounded to 8": self.deep,
            "are partly transparent: their colours were taken without the transparency": self.transparent,
            "were turned as their orientation tag says": self.turned,
        }
        doubts = [f"{whose} images: {n:,} of {self.count:,} {what}." for what, n in found.items() if n]
        if self.others:
            kinds = f"other kinds ({', '.join(pictures.OTHERS)})"
            doubts.append(f"{whose} images: {self.others:,} of {kinds} beside them were not read.")
        return doubts


@doing("looking at the images")
def open_images(path: Path) -> Images:
    """The images of a folder (its samples.npz, else the pictures in it and below) or of an npz, as far as headers tell.

    Raises UsageError for a path of another kind, an empty set or images of mixed sizes, DimbenchError for damage.
    """
    if path.is_dir():
        drawn = path / DRAWN
        return open_npz_images(drawn) if drawn.is_file() else _open_folder(path)
    if not path.is_file():
        raise UsageError(f"There are no images at {path}: give a folder of pictures or an npz.")
    if path.suffix.lower() != ".npz":
        raise UsageError(f"{path} is neither a folder of pictures nor an npz: give one of these.")
    return open_npz_images(path)


class FolderImages(Images):
    """Pictures in the order of their paths, all as RGB."""

    def batches(self, n: int, first: int = 0, every: int = 1) -> Iterator[Tensor]:
        for start in range(first * n, self.count, every * n):
            yield torch.stack([self._pixels(file) for file in self.files[start : start + n]])

    def _pixels(self, file: Path) -> Tensor:
        found = pictures.pixels(file)
        if (size := tuple(found.shape[1:])) != self.size:
            raise _mixed(self.path, self.files[0], self.size, file, size)
        return found


def _open_folder(path: Path) -> FolderImages:
    files, others = pictures.pictures_in(path)
    if not files:
        known = ", ".join(pictures.SUFFIXES)
        raise UsageError(f"{path} holds no pictures ({known}): give a folder that does, or an npz.")
    headers = [pictures.header(file) for file in files]
    size = headers[0].size
    for file, header in zip(files, headers, strict=True):
        if header.size != size:
            raise _mixed(path, files[0], size, file, header.size)
    return FolderImages(
        path=path,
        count=len(files),
        size=size,
        files=tuple(files),
        lossy=sum(header.lossy for header in headers),
        deep=sum(header.deep for header in headers),
        transparent=sum(header.transparent for header in headers),
        turned=sum(header.turned for header in headers),
        others=others,
    )


def _mixed(path: Path, first: Path, size: tuple[int, ...], file: Path, found: tuple[int, ...]) -> UsageError:
    return UsageError(
        f"{path} holds images of mixed sizes, {first.name} of {size[0]} x {size[1]} and {file.name} of {found[0]} x "
        f"{found[1]} pixels: give images of one size."
    )


@dataclass(frozen=True, kw_only=True)
class DigitImages(Images):
    """The embedded digits of one split, grey, 8 x 8."""

    split: digits.Split

    def batches(self, n: int, first: int = 0, every: int = 1) -> Iterator[Tensor]:
        return iter(to_uint8(digits.load(self.split)[0]).split(n)[first::every])


def digit_images(split: digits.Split) -> DigitImages:
    """The real digits of a split."""
    count = len(digits.load(split)[1])
    size = (digits.SIZE, digits.SIZE)
    return DigitImages(path=digits.FILE, count=count, size=size, files=(digits.FILE,), split=split)


@dataclass(frozen=True, kw_only=True)
class NpzImages(Images):
    """The array arr_0, uint8 (N, H, W, C), read from the archive without being held in memory."""

    channels: int

    def batches(self, n: int, first: int = 0, every: int = 1) -> Iterator[Tensor]:
        shape = (*self.size, self.channels)
        with archives.opened(self.path, ARRAY) as (file, *_):
            header = file.tell()
            for start in range(first * n, self.count, every * n):
                if file.tell() != (place := header + start * prod(shape)):
                    file.seek(place)
                rows = min(n, self.count - start)
                data = np.frombuffer(file.read(rows * prod(shape)), np.uint8).reshape(rows, *shape)
                yield torch.from_numpy(data.copy()).permute(0, 3, 1, 2)


def open_npz_images(path: Path) -> NpzImages:
    """The images of an npz. Raises UsageError where it holds none that can be used, DimbenchError for damage."""
    names = archives.names(path)
    if ARRAY not in names:
        raise UsageError(
            f"{path} holds {', '.join(names) or 'nothing'} where images were expected, as uint8 (N, H, W, 3) under the "
            f"name {ARRAY}: give a folder of pictures or an npz that np.savez(file, images) wrote."
        )
    with archives.opened(path, ARRAY) as (_, shape, in_columns, dtype):
        pass
    if fault := _fault(shape, in_columns, dtype):
        raise UsageError(
            f"{path} holds {ARRAY} of {dtype} {shape} where uint8 images (N, H, W, 3) were expected: {fault}."
        )
    if not prod(shape):
        raise UsageError(f"{path} holds no images: its {ARRAY} is empty.")
    return NpzImages(path=path, count=shape[0], size=(shape[1], shape[2]), files=(path,), channels=shape[3])


def _fault(shape: tuple[int, ...], in_columns: bool, dtype: np.dtype[Any]) -> str:
    """What has to be done to an array before it is one of images; empty where it is."""
    if len(shape) != 4:
        return "give it four dimensions"
    if shape[3] == 4:
        return "leave its transparency out, as images[..., :3]"
    if shape[3] not in (1, 3):
        return "put the channels last, as images.transpose(0, 2, 3, 1)"
    if dtype != np.uint8:
        return "scale its values to 0..255 and round them to uint8"
    return "store it in rows, as np.ascontiguousarray(images)" if in_columns else ""
