"""Pictures in files: which ones a folder holds, what their headers say, and their pixels as RGB bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dimbench.errors import DimbenchError, UsageError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
OTHERS = (".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".tga")  # of pictures that are not read
FORMATS = (
    "BMP",
    "JPEG",
    "PNG",
    "PPM",
    "TIFF",
    "WEBP",
)  # no other decoder of Pillow is tried, whatever a file is called
BYTES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # modes that become RGB without a choice
WORDS = ("I;16", "I;16L", "I;16B", "I;16N")
ORIENTATION, ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values that swap height and width
BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # of TIFF

# Of a pass of Adam7: first column and row, and the steps to the next ones.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's type of colour


@dataclass(frozen=True)
class Header:
    """A picture of `size` (height, width) as it is seen; what is done to it, or was, on its way to RGB bytes."""

    size: tuple[int, int]
    lossy: bool  # stored with loss, as its decoder says
    deep: bool  # 16 bits a channel, rounded to 8
    transparent: bool  # in at least one pixel; the colour is taken as it is
    turned: bool  # as its orientation tag says


def pictures_in(folder: Path) -> tuple[list[Path], int]:
    """The pictures in a folder and below, in the order of their paths, and how many of OTHERS there are. Links are
    followed, a folder is entered once, and hidden names are left out. Raises UsageError for a picture's name on what is
    no file, such as a pipe."""
    found, others, entered, waiting = [], 0, set(), [folder]
    while waiting:
        here = waiting.pop()
        known = here.stat()
        if (known.st_dev, known.st_ino) in entered:
            continue
        entered.add((known.st_dev, known.st_ino))
        folders = []
        for path in sorted(path for path in here.iterdir() if path.name[0] != "."):
            if path.is_dir():
                folders.append(path)
            elif path.suffix.lower() in SUFFIXES:
                found.append(_regular(path))
            else:
                others += path.suffix.lower() in OTHERS
        waiting += reversed(folders)
    return sorted(found), others


def _regular(path: Path) -> Path:
    if not path.is_file():
        what = "a link to nothing" if path.is_symlink() and not path.exists() else "a pipe, socket or device"
        raise UsageError(f"{path} is {what} where a picture was expected: remove it.")
    return path


def header(file: Path) -> Header:
    """What the picture's header says; of a picture with an alpha channel the pixels are looked at too.

    Raises UsageError for a kind of picture that has no exact RGB bytes, DimbenchError for damage.
    """
    with _opened(file) as image:
        _check_kind(image, file)
        size, turned = (image.height, image.width), _orientation(image)
        if image.format != "TIFF" and turned in ON_ITS_SIDE:  # Pillow gives a TIFF's size as it is seen
            size = size[::-1]
        deep = ";16" in str(getattr(image, "tile", ""))
        return Header(size, _lossy(image, file), deep, _transparent(image), turned != 1)


def pixels(file: Path) -> Tensor:
    """uint8 (3, H, W). Raises DimbenchError where the picture is damaged or rows of it are missing."""
    with _opened(file, whole=True) as image:
        seen = ImageOps.exif_transpose(image)
        if seen.mode not in BYTES:
            values = np.asarray(seen).astype(np.uint32)
            grey = ((values + 128) // 257).astype(np.uint8)  # 65535 -> 255, to the nearest
            return torch.from_numpy(grey).expand(3, -1, -1)
        return torch.from_numpy(np.array(seen.convert("RGB"))).permute(2, 0, 1)


@contextmanager
def _opened(file: Path, whole: bool = False) -> Iterator[Image.Image]:
    """The picture; `whole` asks for all rows of a PNG. What decoders raise for damage is of many kinds."""
    try:
        content = file.read_bytes() if whole else None
        if content and content.startswith(b"\x89PNG") and not _has_all_rows(content):
            raise ValueError("rows are missing or damaged")
        with Image.open(BytesIO(content) if content else file, formats=FORMATS) as image:
            yield image
    except DimbenchError:
        raise
    except Exception as error:
        raise DimbenchError(
            f"{file} cannot be read as a picture, so it was probably cut off: make it again or remove it."
        ) from error


def _check_kind(image: Image.Image, file: Path) -> None:
    """Raise UsageError unless the picture has exact RGB bytes."""
    if getattr(image, "n_frames", 1) > 1:
        raise UsageError(f"{file} holds {image.n_frames} pictures where one was expected: store each in a file.")  # type: ignore[attr-defined]
    words = image.mode in WORDS or (image.mode == "I" and image.format == "PPM")  # Pillow stretches PPM to 16 bits
    tags = getattr(image, "tag_v2", {})
    if words and (tags.get(BITS, (16,)) != (16,) or tags.get(PHOTOMETRIC) == WHITE_IS_ZERO):
        raise UsageError(f"{file} holds {image.mode} of an unusual scale: convert it to 8 bits.")
    if not words and image.mode not in BYTES:
        raise UsageError(
            f"{file} is a picture of the mode {image.mode}, which has no exact bytes of red, green and blue: "
            "convert it to RGB of 8 bits."
        )


def _orientation(image: Image.Image) -> int:
    """The orientation tag, 1 where there is none. A PNG's is read only where it stands before the pixels."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    found = image.getexif().get(ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def _lossy(image: Image.Image, file: Path) -> bool:
    """Whether the encoding loses some of a picture."""
    if image.format == "WEBP":
        return not _is_lossless_webp(file.read_bytes())
    return image.format in ("JPEG", "MPO") or image.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")


def _is_lossless_webp(content: bytes) -> bool:
    """Whether the first bitstream among the chunks is of the lossless kind."""
    at = len(b"RIFF....WEBP")
    while at + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, at)
        if kind in (b"VP8L", b"VP8 "):
            return bool(kind == b"VP8L")
        at += 8 + length + length % 2
    return False


def _transparent(image: Image.Image) -> bool:
    if not image.has_transparency_data:
        return False
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    return bool((alpha < 255).any())


def _has_all_rows(content: bytes) -> bool:
    """Whether the pixels of a PNG are there and match their checksums; Pillow leaves missing rows black."""
    at, header, pixels = 8, b"", []
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        body = content[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            if content[at + 8 + length : at + 12 + length] != struct.pack(">I", zlib.crc32(kind + body)):
                return False
            pixels.append(body)
        at += 12 + length
    expected = _inflated_bytes(header)
    return len(zlib.decompressobj().decompress(b"".join(pixels), expected + 1)) >= expected


def _inflated_bytes(header: bytes) -> int:
    """Of all rows of a PNG, each with a byte for its filter."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    sides = [(ceil((width - x) / dx), ceil((height - y) / dy)) for x, y, dx, dy in passes]
    return sum(h * (1 + ceil(w * depth * CHANNELS[colour] / 8)) for w, h in sides if w > 0)
