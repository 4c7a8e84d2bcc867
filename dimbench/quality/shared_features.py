"""What the metrics need of images that several processes look at: the features lie in files, and nobody holds all."""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dimbench import paths
from dimbench.files import replacing
from dimbench.quality.feature_rows import FeatureRows, Table
from dimbench.quality.features import Extractor, Features, as_rgb
from dimbench.quality.images import Images
from dimbench.quality.summary import FeatureSummary, Summariser, blocks, chosen, image_digests, summarise
from dimbench.sampling.ranks import ALONE, Ranks

PIXELS = "pixels"  # the SHA-256 of each image, kept beside its features


class FeatureFiles:
    """The features of the batches of a set of images, a file of each kind and batch, in a folder of the cache that goes
    with the process; where the ranks do not `share` the cache, each has its own."""

    def __init__(self, here: Ranks) -> None:
        place = paths.cache_folder() / "features"
        self.shared = here.all_see(place)
        make = lambda: _locked(place)  # noqa: E731
        self.folder = here.agree(make) if self.shared else make()

    def write(self, index: int, features: Features) -> None:
        """Keep the features of a batch."""
        for name, rows in features.items():
            with replacing(self._file(name, index)) as temporary, temporary.open("wb") as file:
                np.save(file, rows.numpy())

    def read(self, index: int) -> Features:
        """The features of a batch."""
        files = self.folder.glob(f"*-{index:06d}.npy")
        return {file.name.split("-")[0]: torch.from_numpy(np.load(file)) for file in files}

    def rows(self, name: str, batches: int, total: int) -> FeatureRows | None:
        """The features of one kind of all images; None where there are none."""
        files = [self._file(name, index) for index in range(batches)]
        if not files[0].exists():
            return None
        first = torch.from_numpy(np.load(files[0]))
        return FeatureRows(files, len(first), (total, first.shape[1]), first.dtype)

    def tell(self, written: Sequence[int], here: Ranks) -> None:
        """Return when everyone can read every batch, of which this process has `written` some."""
        if self.shared:
            here.wait()
            return
        for rank, theirs in enumerate(here.gathered(written)):
            for index in theirs:
                features = here.told(self.read(index) if rank == here.rank else {}, rank)
                if rank != here.rank:
                    self.write(index, features)

    def _file(self, name: str, index: int) -> Path:
        return self.folder / f"{name}-{index:06d}.npy"


def summarise_shared(
    extractor: Extractor,
    batches: Iterable[tuple[int, Tensor]],
    total: int,
    size: int,
    here: Ranks,
    keep: int | None = None,
    on_images: Callable[[int], None] | None = None,
) -> FeatureSummary:
    """The summary of `total` uint8 images in batches of `size`, of which this process is given some with their numbers;
    as `summarise` makes it to the last digit, for the sums are of the same blocks in the same order."""
    files, written = FeatureFiles(here), []
    for index, batch in batches:
        images = as_rgb(batch)
        files.write(index, {**extractor.features(images), PIXELS: image_digests(images)})
        written.append(index)
        here.beat()
        if on_images:
            on_images(min(total, len(written) * size * here.world))
    files.tell(written, here)
    count = -(-total // size)
    whole = _merged(files, total, size, count, here)
    pixels = here.agree(lambda: _digest(files, count))
    kept = {name: _kept(files.rows(name, count, total), keep) for name in ("pool", "vgg")}
    return replace(whole.result(pixels), features=kept["pool"], vgg=kept["vgg"])


def looked_at(
    images: Images,
    extractor: Extractor,
    keep: int | None,
    batch: int,
    on_images: Callable[[int], None] | None = None,
    here: Ranks = ALONE,
) -> FeatureSummary:
    """The summary of images on disk, shared out where the ranks `here` are several; `on_images(n)` follows."""
    if here.world == 1:
        return summarise(extractor, images.batches(batch), images.count, keep, on_images)
    mine = range(here.rank, -(-images.count // batch), here.world)
    numbered = zip(mine, images.batches(batch, here.rank, here.world), strict=True)
    return summarise_shared(extractor, numbered, images.count, batch, here, keep, on_images)


def _merged(files: FeatureFiles, total: int, size: int, count: int, here: Ranks) -> Summariser:
    """The sums over all batches: the blocks are shared out, and the first process adds them up in their order."""
    whole = Summariser(total, keep=0)
    for number, block in enumerate(blocks(count)):
        part = None
        if number % here.world == here.rank:
            part = Summariser(total, keep=0, first=block.start * size)
            for index in block:
                part.update(files.read(index))
            here.beat()
        part = here.handed(part, number % here.world)
        if here.first:
            assert part is not None
            whole.merge(part)
    return here.agree(lambda: whole)


def _digest(files: FeatureFiles, count: int) -> str:
    whole = hashlib.sha256()
    for index in range(count):
        whole.update(files.read(index)[PIXELS].numpy().tobytes())
    return whole.hexdigest()


def _kept(rows: FeatureRows | None, keep: int | None) -> Table | None:
    if rows is None or keep is None:
        return rows
    return rows[chosen(torch.arange(len(rows)), keep, len(rows)).nonzero().flatten()] if keep else None


def _locked(place: Path) -> Path:
    """A new folder in `place` that goes when the process ends; those of processes that were killed go now."""
    for lock in place.glob("*.lock"):
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue  # its process is at work
            shutil.rmtree(lock.with_name(lock.name.removesuffix(".lock")), ignore_errors=True)
            lock.unlink(missing_ok=True)
    name = f"{platform.node()}-{os.getpid()}-{len(_LOCKS)}"
    place.mkdir(parents=True, exist_ok=True)
    held = (place / f"{name}.lock").open("a")
    fcntl.flock(held, fcntl.LOCK_EX)
    _LOCKS.append(held)
    folder = place / name
    folder.mkdir()
    atexit.register(_removed, folder)
    return folder


def _removed(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name(f"{folder.name}.lock").unlink(missing_ok=True)


_LOCKS: list[object] = []
