"""Drawn images as the evaluation suites read them: one npz, or a folder of PNGs."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from dimbench.errors import DimbenchError, reason
from dimbench.files import replacing


def pixels(images: Tensor) -> np.ndarray:
    """uint8 images (n, 1 or 3, h, w) or clips (n, 3, t, h, w) as RGB, colours last."""
    return images.expand(-1, 3, *images.shape[2:]).movedim(1, -1).contiguous().numpy()


def write_npz(path: Path, batches: Iterable[np.ndarray], count: int) -> None:
    """One array `arr_0` of `count` rows, uncompressed, as np.savez would write it, with one batch in memory at a time.

    The batches have equal rows and dtype; of the last one only what is wanted is taken.
    """
    left, header = count, None
    with (
        _writing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
        archive.open(zipfile.ZipInfo("arr_0.npy"), "w", force_zip64=True) as file,
    ):
        for batch in batches:
            if header is None:
                header = {"descr": batch.dtype.str, "fortran_order": False, "shape": (count, *batch.shape[1:])}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(batch[:left].tobytes())
            left -= len(batch[:left])


def rows_of(path: Path) -> int:
    """The rows of `arr_0` as its header says, 0 where there is no such file."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("arr_0.npy") as file:
            np.lib.format.read_magic(file)
            return np.lib.format.read_array_header_1_0(file)[0][0]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return 0


def png_name(k: int) -> str:
    """What the official scripts call image k."""
    return f"{k:06d}.png"


def write_pngs(folder: Path, images: Tensor, rows: Sequence[int]) -> None:
    """Write each of the images that is not there yet."""
    for picture, k in zip(pixels(images), rows, strict=True):
        path = folder / png_name(k)
        if not path.exists():
            with _writing(path) as temporary:
                Image.fromarray(picture).save(temporary, format="PNG")


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise DimbenchError(
            f"cannot write {path} ({reason(error)}); the images are kept as shards: make room and run again"
        ) from None
