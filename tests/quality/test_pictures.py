"""Pictures as others store them, against the same ones in plain 8-bit PNG."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dimbench.errors import DimbenchError, UsageError
from dimbench.quality import pictures
from dimbench.quality.images import open_images
from tests.quality.test_images import pixels, write_folder

GREY = pixels(1)[0, :, :, 0]
RGB = pixels(1)[0]


def read(folder: Path) -> Tensor:
    return torch.cat(list(open_images(folder).batches(5)))


def expected(image: np.ndarray) -> Tensor:
    return torch.from_numpy(
        np.broadcast_to(image.T, (3, 6, 6)).swapaxes(1, 2).copy()
        if image.ndim == 2
        else image.transpose(2, 0, 1).copy()
    )[None]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: bytes, height: int, depth: int = 8, colour: int = 2, width: int = 6) -> bytes:
    """A PNG of `height` rows, which holds the filtered rows given."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def filtered(image: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in image)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_grey_of_16_bits_is_scaled(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / f"a.{suffix}")
    assert torch.equal(read(tmp_path), expected(GREY))


def test_colours_of_16_bits_are_scaled_and_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(filtered(RGB.astype(">u2") * 257), 6, depth=16))
    assert torch.equal(read(tmp_path), expected(RGB))
    assert open_images(tmp_path).doubts("The") == ["The images: 1 of 1 have 16 bits a channel and were rounded to 8."]


@pytest.mark.parametrize(
    ("dtype", "mode"), [(np.float32, "F"), (np.int32, "I"), (np.uint8, "CMYK")], ids=["float", "32 bits", "CMYK"]
)
def test_kinds_without_exact_bytes_are_refused(dtype: type, mode: str, tmp_path: Path) -> None:
    picture = np.zeros((6, 6, 4), dtype) if mode == "CMYK" else np.zeros((6, 6), dtype)
    Image.fromarray(picture, mode="CMYK" if mode == "CMYK" else None).save(tmp_path / "a.tif")
    with pytest.raises(UsageError, match=rf"a\.tif is a picture of the mode {mode}, which has no exact bytes"):
        open_images(tmp_path)


def test_a_tiff_in_which_white_is_zero_is_refused(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "a.tif", tiffinfo={262: 0})
    with pytest.raises(UsageError, match="of an unusual scale"):
        open_images(tmp_path)


def test_several_pictures_in_a_file_are_refused(tmp_path: Path) -> None:
    first, second = (Image.fromarray(image) for image in pixels(2))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    with pytest.raises(UsageError, match=r"a\.tif holds 2 pictures where one was expected"):
        open_images(tmp_path)


def test_transparency_is_counted_where_there_is_any(tmp_path: Path) -> None:
    for name, alpha in (("a", 255), ("b", 254)):
        Image.fromarray(np.dstack([RGB, np.full((6, 6), alpha, np.uint8)])).save(tmp_path / f"{name}.png")
    assert open_images(tmp_path).transparent == 1
    assert torch.equal(read(tmp_path), expected(RGB).repeat(2, 1, 1, 1))
    assert "1 of 2 are partly transparent" in open_images(tmp_path).doubts("The")[0]


def test_pictures_of_kinds_that_are_not_read_are_counted(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert open_images(tmp_path).doubts("The") == []
    (tmp_path / "below").mkdir()
    for name in ("b.GIF", "below/c.jp2", "notes.txt"):
        (tmp_path / name).write_bytes(b"anything")
    (doubt,) = open_images(tmp_path).doubts("The")
    assert doubt.startswith("The images: 2 of other kinds (.avif, .gif,")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_tag_says(orientation: int, suffix: str, tmp_path: Path) -> None:
    corner = np.zeros((4, 16, 3), np.uint8)
    corner[:2, :8] = 255  # the top left of the stored picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(corner).save(tmp_path / f"a.{suffix}", exif=exif)
    found = open_images(tmp_path)
    seen = read(tmp_path)[0, 0] > 127
    assert found.size == tuple(seen.shape) == ((16, 4) if orientation > 4 else (4, 16))
    assert found.turned == (orientation > 1)
    top, left = orientation in (1, 2, 5, 6), orientation in (1, 4, 5, 8)
    height, width = seen.shape
    rows = slice(0, height // 2) if top else slice(height // 2, None)
    columns = slice(0, width // 2) if left else slice(width // 2, None)
    assert seen[rows, columns].all()
    assert seen.sum() == height * width / 4


def test_a_png_with_missing_rows_is_damaged(tmp_path: Path) -> None:
    whole = filtered(RGB)
    (tmp_path / "a.png").write_bytes(png(whole, 6))
    assert torch.equal(read(tmp_path), expected(RGB))
    (tmp_path / "a.png").write_bytes(png(whole[: len(whole) // 2], 6))
    with pytest.raises(DimbenchError, match=r"a\.png cannot be read as a picture"):
        read(tmp_path)


def test_interlaced_pictures_and_those_of_few_bits_are_whole(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(filtered(np.full((6, 2), 0b01_01_01_01, np.uint8)), 6, depth=2, colour=0))
    assert torch.equal(read(tmp_path), torch.full((1, 3, 6, 6), 85, dtype=torch.uint8))
    passes = [(1, 1), (1, 1), (1, 2), (2, 1), (1, 3), (3, 3), (3, 6)]  # rows and columns of Adam7 on 6 x 6 pixels
    rows = b"".join(b"\0" + bytes([7] * columns) for height, columns in passes for _ in range(height))
    content = bytearray(png(rows, 6, colour=0))
    header = bytearray(content[12:29])
    header[-1] = 1
    content[12:33] = bytes(header) + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "a.png").write_bytes(content)
    assert torch.equal(read(tmp_path), torch.full((1, 3, 6, 6), 7, dtype=torch.uint8))


def test_a_damaged_checksum_is_found(tmp_path: Path) -> None:
    content = bytearray(png(filtered(RGB), 6))
    content[content.index(b"IDAT") - 4 + 8 + struct.unpack(">I", content[33:37])[0]] ^= 1
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DimbenchError, match=r"a\.png cannot be read as a picture"):
        read(tmp_path)


def test_loss_is_what_the_decoder_says(tmp_path: Path) -> None:
    image = Image.fromarray(RGB)
    image.save(tmp_path / "a.png", format="JPEG")
    image.save(tmp_path / "b.webp", lossless=True)
    image.save(tmp_path / "c.webp")
    image.save(tmp_path / "d.tif", compression="jpeg")
    image.save(tmp_path / "e.tif", compression="tiff_lzw")
    with_alpha = Image.fromarray(np.dstack([RGB, GREY]))
    with_alpha.save(tmp_path / "f.webp", lossless=True)
    with_alpha.save(tmp_path / "g.webp")
    lossy = {file.name for file in open_images(tmp_path).files if pictures.header(file).lossy}
    assert lossy == {"a.png", "c.webp", "d.tif", "g.webp"}
    assert open_images(tmp_path).lossy == 4


def test_no_other_decoder_is_tried(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png", format="GIF")
    with pytest.raises(DimbenchError, match=r"a\.png cannot be read as a picture"):
        open_images(tmp_path)


def test_links_are_followed_once_and_hidden_names_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path / "set" / "0", pixels(2))
    write_folder(tmp_path / "store", pixels(3))
    write_folder(tmp_path / "set" / ".ipynb_checkpoints", pixels(1))
    (tmp_path / "set" / "1").symlink_to(tmp_path / "store")
    (tmp_path / "set" / "2").symlink_to(tmp_path / "set")  # a loop
    (tmp_path / "set" / "3").symlink_to(tmp_path / "store")  # again the same pictures
    (tmp_path / "set" / "x.png").symlink_to(tmp_path / "store" / "000000.png")
    found = open_images(tmp_path / "set")
    names = [str(file.relative_to(tmp_path / "set")) for file in found.files]
    assert names == ["0/000000.png", "0/000001.png", "1/000000.png", "1/000001.png", "1/000002.png", "x.png"]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, pixels(1))
    os.mkfifo(tmp_path / "b.png")
    with pytest.raises(UsageError, match=r"b\.png is a pipe, socket or device where a picture was expected"):
        open_images(tmp_path)
    (tmp_path / "b.png").unlink()
    (tmp_path / "b.png").symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"b\.png is a link to nothing"):
        open_images(tmp_path)
