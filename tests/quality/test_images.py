from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dimbench.errors import DimbenchError, UsageError
from dimbench.quality.images import open_images


def pixels(n: int, size: int = 6, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(n, size, size, channels), dtype=np.uint8)


def write_folder(folder: Path, images: np.ndarray, suffix: str = "png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for k, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{k:06d}.{suffix}")
    return folder


def write_npz(path: Path, images: np.ndarray, **more: np.ndarray) -> Path:
    np.savez(path, arr_0=images, **more)
    return path


@pytest.mark.parametrize("kind", ["folder", "npz", "compressed"])
def test_images_come_in_order_whatever_the_batch(kind: str, tmp_path: Path) -> None:
    given = pixels(7)
    if kind == "folder":
        path = write_folder(tmp_path / "images", given)
    elif kind == "npz":
        path = write_npz(tmp_path / "a.npz", given)
    else:
        path = tmp_path / "a.npz"
        np.savez_compressed(path, arr_0=given)
    found = open_images(path)
    assert (found.count, found.size, found.lossy) == (7, (6, 6), 0)
    expected = torch.from_numpy(given).permute(0, 3, 1, 2)
    for n in (1, 3, 7, 100):
        batches = list(found.batches(n))
        assert [len(batch) for batch in batches][:-1] == [n] * (len(batches) - 1)
        assert torch.equal(torch.cat(batches), expected)


def test_folders_are_read_with_their_subfolders_and_grey_and_palette_become_rgb(tmp_path: Path) -> None:
    write_folder(tmp_path / "b", pixels(2))
    (tmp_path / "a").mkdir()
    grey = pixels(1)[0, :, :, 0]
    Image.fromarray(grey).save(tmp_path / "a" / "x.png")
    Image.fromarray(pixels(1)[0]).quantize(4).save(tmp_path / "a" / "y.PNG")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "labels.txt").write_text("no picture")
    found = open_images(tmp_path)
    assert found.count == 4
    (batch,) = found.batches(4)
    assert torch.equal(batch[0], torch.from_numpy(grey).expand(3, 6, 6))


def test_grey_arrays_keep_their_channel(tmp_path: Path) -> None:
    (batch,) = open_images(write_npz(tmp_path / "a.npz", pixels(3, channels=1))).batches(5)
    assert batch.shape == (3, 1, 6, 6)


def test_lossy_pictures_are_counted(tmp_path: Path) -> None:
    write_folder(tmp_path, pixels(2), "jpg")
    write_folder(tmp_path, pixels(3))
    assert (open_images(tmp_path).lossy, open_images(tmp_path).count) == (2, 5)


def test_mixed_sizes_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path, pixels(1))
    Image.fromarray(pixels(1, 8)[0]).save(tmp_path / "z.png")
    with pytest.raises(UsageError, match=r"mixed sizes, 000000\.png of 6 x 6 and z\.png of 8 x 8 pixels"):
        open_images(tmp_path)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((2, 6, 6, 3)), "float64"),
        (np.zeros((2, 3, 6, 6), np.uint8), r"\(2, 3, 6, 6\) where uint8 images \(N, H, W, 3\)"),
        (np.zeros((6, 6, 3), np.uint8), r"\(6, 6, 3\)"),
        (np.zeros((0, 6, 6, 3), np.uint8), "arr_0 is empty"),
    ],
)
def test_arrays_of_another_kind_are_refused(array: np.ndarray, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=sentence):
        open_images(write_npz(tmp_path / "a.npz", array))


def test_an_npz_without_images_says_what_it_holds(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mu=np.zeros(3))
    with pytest.raises(UsageError, match=r"a\.npz holds mu where images were expected"):
        open_images(tmp_path / "a.npz")


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_an_npz_cut_off_is_one_sentence(kept: float, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", pixels(50))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(DimbenchError, match=r"a\.npz cannot be read as an npz, so it was probably cut off"):
        open_images(path)


def test_a_changed_byte_is_found_while_reading(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", pixels(50))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DimbenchError, match="cut off"):
        list(open_images(path).batches(7))


def test_an_array_shorter_than_its_header_says_is_found_while_reading(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (9, 6, 6, 3)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("arr_0.npy", file.getvalue() + pixels(5).tobytes())
    with pytest.raises(DimbenchError, match="cut off"):
        list(open_images(tmp_path / "a.npz").batches(3))


@pytest.mark.parametrize("kept", [0, 200])
def test_a_damaged_picture_is_named(kept: int, tmp_path: Path) -> None:
    write_folder(tmp_path, pixels(3, 32))
    damaged = tmp_path / "000001.png"
    damaged.write_bytes(damaged.read_bytes()[:kept])
    with pytest.raises(DimbenchError, match=r"000001\.png cannot be read as a picture"):
        list(open_images(tmp_path).batches(2))


def test_places_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no pictures"):
        open_images(tmp_path)
    with pytest.raises(UsageError, match="There are no images at"):
        open_images(tmp_path / "nowhere")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match="neither a folder of pictures nor an npz"):
        open_images(tmp_path / "a.txt")


@pytest.mark.parametrize("kind", ["png", "npz"])
def test_one_pixel_changes_the_listing_of_files_of_equal_names_and_sizes(kind: str, tmp_path: Path) -> None:
    def listed(images: np.ndarray) -> str:
        if kind == "npz":
            np.savez(tmp_path / "images.npz", arr_0=images)
            return open_images(tmp_path / "images.npz").listing
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{number}.png", compress_level=0)
        return open_images(folder).listing

    images = pixels(3, 32)
    before = listed(images)
    assert listed(images) == before
    images[0, 0, 0, 0] ^= 1
    assert listed(images) != before
