"""The images of a run on disk, one file per batch: what was drawn is never drawn again, whatever ended the run."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimbench import paths
from dimbench.errors import DimbenchError, reason
from dimbench.files import json_object, replacing

OnShard = Callable[[int], None]

_DIGITS = 16  # of a shard's SHA-256 in its name: against damage, not against forgery

# The temporary files that a run makes in its folder: of the manifest, of a shard, of an image, of all images.
_OURS = re.compile(r"\.(manifest\.json|\d{6,}-[0-9a-f]+\.npy|\d{6,}\.png|(samples|latents)\.npz)\.\d+\.tmp")


class Shards:
    """A folder: manifest.json says of which run its images are, and shards/ holds `size` images per .npy file.

    A shard appears whole or not at all, and its name ends in the SHA-256 of its values: the listing alone tells what
    is done, whichever process on whichever machine wrote it. `shape` (C, h, w) and `dtype` are those of an image.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        size: int,
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.uint8,
    ) -> None:
        self.folder = folder
        self.size = size
        self.shape = shape
        self.dtype = dtype
        about = {"images_per_shard": size, "image_shape": list(shape), "image_dtype": str(dtype).removeprefix("torch.")}
        self.manifest = {**identity, **about}
        self._manifest = folder / "manifest.json"
        self._place = folder / "shards"
        self._known: dict[int, Path] = {}

    @contextmanager
    def claimed(self, said: bool = True) -> Iterator[None]:
        """Inside, the folder is this run's alone; it is made, or its manifest must be of the same run. What an
        interruption leaves in it is `said`."""
        fresh = not self.folder.exists()
        try:
            self._check_place()
            self._place.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("a")
        except OSError as error:
            raise DimbenchError(f"cannot write to {self.folder} ({reason(error)}); {self._elsewhere()}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise DimbenchError(
                    f"another run is drawing into {self.folder}; let it end, or {self._elsewhere()}"
                ) from None
            self._settle()
            try:
                yield
            except KeyboardInterrupt:
                if said:
                    self._say_kept(fresh)
                raise
            except DimbenchError:
                if fresh and not self.done():
                    self.remove()  # or it would stand in the way of the next run, which may be another
                raise

    def _say_kept(self, fresh: bool) -> None:
        """What an interruption leaves; a `fresh` folder without an image is not left."""
        if images := self.done() * self.size:
            kept = f"{images} images are kept in {self.folder}: the same command goes on from there"
        else:
            kept = "no image was finished"
            if fresh:
                self.remove()
        print(f"dimbench: interrupted; {kept}", file=sys.stderr)

    def check(self) -> None:
        """Raise DimbenchError where the folder holds something else than images of this run."""
        self._check_place()
        if self._manifest.exists():
            self._check_run()

    def _check_place(self) -> None:
        """Refuse a folder that holds something else; a run that died early leaves no more than our own names."""
        if self._manifest.exists() or not self.folder.exists():
            return
        if any(path != self._place and not path.name.startswith(".") for path in self.folder.iterdir()):
            raise DimbenchError(
                f"{self.folder} is not empty and holds no manifest of a run; give a new folder with --to"
            )

    def _settle(self) -> None:
        for left in (*self.folder.glob(".*.tmp"), *self._place.glob(".*.tmp")):
            if _OURS.fullmatch(left.name):
                left.unlink()  # of a process that was killed
        if not self._manifest.exists():
            with self._kept(), replacing(self._manifest) as temporary:
                temporary.write_text(json.dumps(self.manifest, indent=2) + "\n", encoding="utf-8")
            return
        self._check_run()

    def _check_run(self) -> None:
        try:
            found = json_object(self._manifest)
        except (OSError, ValueError):
            raise DimbenchError(f"{self._manifest} is damaged; delete the folder or {self._elsewhere()}") from None
        keys = [key for key in {**found, **self.manifest} if found.get(key) != self.manifest.get(key)]
        if keys:
            changed = ", ".join(f"{key} {_told(found, key)} there, {_told(self.manifest, key)} here" for key in keys)
            raise DimbenchError(
                f"{self.folder} holds images of another run ({changed}); give the same options or another --to, or "
                "delete it to start over"
            )

    def missing(self, count: int, on_shard: OnShard | None = None) -> list[int]:
        """Which of the first `count` shards have to be drawn. Every other was read; damaged ones are deleted."""
        absent = []
        self._known = self._listed()
        for index in range(count):
            file = self._known.get(index)
            if file is None:
                absent.append(index)
            elif _values(file) is None:
                file.unlink()
                del self._known[index]
                absent.append(index)
            if on_shard:
                on_shard(index + 1)
        return absent

    def done(self) -> int:
        """How many shards there are, those of other processes included."""
        self._known = self._listed()
        return len(self._known)

    def write(self, index: int, images: Tensor) -> None:
        """Keep the images (size, *shape) of a shard, on disk when this returns."""
        values = images.contiguous().numpy()
        path = self._place / f"{index:06d}-{_digest(values)}.npy"
        whole = io.BytesIO()  # straight into a file numpy would not notice a disk that fills near the end
        with self._kept(), replacing(path) as temporary, temporary.open("wb") as file:
            np.save(whole, values)
            file.write(whole.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        self._known[index] = path

    def read(self, index: int) -> Tensor:
        """The images of a shard, compared with its checksum."""
        file = self._file(index)
        values = _values(file) if file else None
        if values is None:
            raise DimbenchError(f"shard {index} of {self.folder} is missing or damaged; run again to draw it anew")
        return torch.from_numpy(values)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder)

    def _file(self, index: int) -> Path | None:
        if index not in self._known:
            self._known = self._listed()
        return self._known.get(index)

    def _listed(self) -> dict[int, Path]:
        return {int(path.name[:6]): path for path in self._place.glob("*-*.npy") if path.name[:6].isdigit()}

    def _elsewhere(self) -> str:
        """How to have images in another folder."""
        in_cache = self.folder.is_relative_to(paths.cache_folder())
        return "set DIMBENCH_CACHE to another folder" if in_cache else "give another --to"

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DimbenchError(
                f"cannot write to {self.folder} ({reason(error)}); the {self.done() * self.size} images drawn before "
                "are kept: make room and run again to go on"
            ) from None


def kept(folder: Path) -> Iterator[Tensor]:
    """The images of a run's folder, shard by shard in their order, up to the first that is missing or damaged."""
    for index, file in enumerate(sorted((folder / "shards").glob("*-*.npy"))):
        values = _values(file) if file.name.startswith(f"{index:06d}-") else None
        if values is None:
            return
        yield torch.from_numpy(values)


def _values(file: Path) -> np.ndarray | None:
    """What the shard holds, None where it is not what was written."""
    try:
        values = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return values if file.stem.endswith(f"-{_digest(values)}") else None


def _told(manifest: Mapping[str, Any], key: str) -> str:
    """A condition as people type it; "none" where a run had none."""
    value = manifest.get(key)
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "none" if value is None else str(value)


def _digest(values: np.ndarray) -> str:
    about = f"{values.dtype} {values.shape}".encode()
    return hashlib.sha256(about + values.tobytes()).hexdigest()[:_DIGITS]
