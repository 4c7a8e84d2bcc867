from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
import torch

from dimbench.errors import DimbenchError
from dimbench.sampling.shards import Shards

SHAPE = (1, 2, 3)
IMAGES = torch.arange(36, dtype=torch.uint8).view(6, *SHAPE)


def shards(folder: Path, seed: int = 0, size: int = 2) -> Shards:
    return Shards(folder, {"model": "a", "seed": seed}, size, SHAPE)


def filled(folder: Path) -> Shards:
    store = shards(folder)
    with store.claimed():
        for index in range(3):
            store.write(index, IMAGES[2 * index : 2 * index + 2])
    return store


def files(folder: Path) -> list[Path]:
    return sorted((folder / "shards").iterdir())


@pytest.mark.parametrize("drawn", [0, 1])
def test_a_run_that_fails_leaves_what_it_drew_and_else_nothing(tmp_path: Path, drawn: int) -> None:
    store = shards(tmp_path / "new")

    def fails() -> None:
        with store.claimed():
            for index in range(drawn):
                store.write(index, IMAGES[:2])
            raise DimbenchError("not finite")

    with pytest.raises(DimbenchError, match="not finite"):
        fails()
    assert store.folder.exists() == bool(drawn)


def test_images_come_back_in_any_process(tmp_path: Path) -> None:
    filled(tmp_path)
    again = shards(tmp_path)
    with again.claimed():
        assert again.missing(4) == [3]
        assert torch.equal(torch.cat([again.read(index) for index in range(3)]), IMAGES)
    assert json.loads((tmp_path / "manifest.json").read_text())["images_per_shard"] == 2


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "header"])
def test_a_damaged_shard_is_found_and_made_again(tmp_path: Path, harm: str) -> None:
    store = filled(tmp_path)
    damaged = files(tmp_path)[1]
    content = bytearray(damaged.read_bytes())
    if harm == "flip":
        content[-1] ^= 1
    if harm == "header":
        content[8] ^= 0xFF
    damaged.write_bytes({"cut": content[:-3], "empty": b""}.get(harm, bytes(content)))
    with pytest.raises(DimbenchError, match=r"shard 1 .* damaged"):
        shards(tmp_path).read(1)
    assert store.missing(3) == [1]
    store.write(1, IMAGES[2:4])
    assert store.missing(3) == []
    assert torch.equal(shards(tmp_path).read(1), IMAGES[2:4])


@pytest.mark.parametrize(
    ("other", "words"), [({"seed": 1}, "seed 0 there, 1 here"), ({"size": 3}, "images_per_shard 2 there, 3 here")]
)
def test_another_run_is_refused(tmp_path: Path, other: dict[str, int], words: str) -> None:
    filled(tmp_path)
    with pytest.raises(DimbenchError, match=words), shards(tmp_path, **other).claimed():
        pass


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    with (
        shards(tmp_path).claimed(),
        pytest.raises(DimbenchError, match="another run is drawing"),
        shards(tmp_path).claimed(),
    ):
        pass
    with shards(tmp_path).claimed():
        pass


@pytest.mark.parametrize("text", ["", "{", "[1]", "3"])
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str) -> None:
    filled(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DimbenchError, match=r"manifest\.json is damaged"), shards(tmp_path).claimed():
        pass


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(DimbenchError, match="is not empty"), shards(tmp_path).claimed():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "shards" / ".000003-0123456789abcdef.npy.77.tmp").write_bytes(b"half")
    with shards(tmp_path).claimed():
        assert len(files(tmp_path)) == 3


def test_temporary_files_of_others_stay(tmp_path: Path) -> None:
    for name in (".notes.tmp", ".thesis.tex.1234.tmp", ".manifest.json.old.tmp"):
        (tmp_path / name).write_text("")
    (tmp_path / ".manifest.json.77.tmp").write_text("")
    with shards(tmp_path).claimed():
        pass
    left = {path.name for path in tmp_path.glob(".*.tmp")}
    assert left == {".notes.tmp", ".thesis.tex.1234.tmp", ".manifest.json.old.tmp"}


def test_a_disk_that_fills_in_the_middle_of_a_small_shard_is_named(tmp_path: Path) -> None:
    """A limit to the size of files stands in for the disk; the shard is smaller than what the system writes at once."""
    store = shards(tmp_path)
    with store.claimed():
        store.write(0, IMAGES[:2])
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (files(tmp_path)[0].stat().st_size - 1, before[1]))
        try:
            with pytest.raises(DimbenchError, match=r"File too large.*the 2 images drawn before are kept: make room"):
                store.write(1, IMAGES[2:4])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert len(files(tmp_path)) == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DimbenchError, match="cannot write to"), shards(tmp_path / "file").claimed():
        pass
