"""Many images into a folder, by one process or by several that a launcher started."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from math import prod
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from dimbench import paths, units
from dimbench.errors import DimbenchError, UsageError
from dimbench.progress import stepping
from dimbench.results import Record
from dimbench.sampling import drawing
from dimbench.sampling.request import Request, draws_clips, draws_pictures

if TYPE_CHECKING:
    from torch import Tensor

    from dimbench.backbone import Backbone
    from dimbench.sampling.ranks import Ranks
    from dimbench.sampling.shards import Shards


class ImageFormat(StrEnum):
    NPZ = "npz"
    PNG = "png"
    LATENTS = "latents"


@dataclass(frozen=True)
class Filled:
    """A folder that holds all images: `fresh` of them were drawn now, by `processes` in `seconds`."""

    ready: drawing.Drawing
    fresh: int
    seconds: float
    processes: int
    file: Path

    def record(self) -> Record:
        """What was drawn, and how."""
        ready = self.ready
        metrics: dict[str, Any] = {
            "network_calls": ready.drawn.network_calls,
            "seconds": self.seconds,
            "images_per_second": self.fresh / self.seconds if self.fresh else None,
            **ready.decoding_cost,
        }
        conditions = {**ready.conditions, "batch": ready.batch}
        details = {
            "processes": self.processes,
            "fresh_images": self.fresh,
            "autoencoder": ready.request.decoder,
            "file": str(self.file),
        }
        return Record("sample", ready.backbone.name, conditions, metrics, tuple(ready.warnings), details=details)


def fill(folder: Path, request: Request, form: ImageFormat) -> Filled | None:
    """Draw what is missing in the folder and write the files of this format; None in all processes but the first."""
    from dimbench.sampling import ranks, sharing

    with ranks.joined() as here:
        ready = drawing.Drawing(replace(request, device=here.device(request.device)))
        if not here.all_see(folder.absolute().parent):
            raise DimbenchError(
                f"what is written to {folder.absolute().parent} is not seen by all ranks; give a --to that all share"
            )
        here.check_same({**ready.conditions, **ready.code})
        store = ready.store(folder)
        with store.claimed() if here.first else nullcontext():
            absent = here.agree(lambda: _absent(ready, store, form))
            started = perf_counter()
            with sharing.following(ready, here, ready.shards - len(absent), store) as on_batches:
                for _ in sharing.drawn(ready, here, absent, store, on_batches):
                    pass
            seconds = perf_counter() - started
            file = _export(ready, store, form, here)
            here.wait()
        fresh = min(len(absent) * ready.batch, request.num_images)
        return Filled(ready, fresh, seconds, here.world, file) if here.first else None


def is_sheet(place: Path) -> bool:
    """Whether the name means one picture, not a folder."""
    return place.suffix.lower() == ".png"


def usual_folder(name: str) -> Path:
    """Where the samples of a network lie, among the user's results, where nobody said it."""
    return paths.results_folder() / "samples" / file_name(name)


def file_name(name: str) -> str:
    """A network's name as that of a folder."""
    return re.sub(r"[^\w.,=+-]+", "-", name)


def place_of(backbone: Backbone, to: Path | None, form: ImageFormat) -> Path:
    """Where samples go: `to`, or the user's samples.png, or the usual folder where they are no pictures. UsageError
    where they would have to be."""
    pictures = draws_pictures(backbone)
    found = to or (paths.results_folder() / "samples.png" if pictures else usual_folder(backbone.name))
    if not pictures and (is_sheet(found) or form is ImageFormat.PNG):
        given = f"--to {found}" if is_sheet(found) else f"--as {form}"
        what = "clips" if draws_clips(backbone) else f"arrays of shape {backbone.state}"
        raise UsageError(
            f"{backbone.name} draws {what} and no pictures, and {given} was given; give --to FOLDER for an npz"
        )
    return found


def sheet(file: Path, request: Request) -> Filled:
    """Draw all images onto one labelled sheet, a PNG."""
    from dimbench.sampling import grid

    ready = drawing.Drawing(request)
    part = waiting(file)
    _check_room(ready, ready.store(part))
    drawn, store = ready.run(part)
    grid.save(grid.sheet(drawn.images, ready.labels, columns=_columns(ready.labels)), file)
    store.remove()
    return Filled(ready, min(drawn.fresh, request.num_images), drawn.seconds, 1, file)


def _columns(labels: list[int]) -> int:
    """As many as there are different labels, so that each column holds one class; 8 for one class or very many."""
    classes = len(set(labels))
    return classes if 1 < classes <= 16 else 8


def _absent(ready: drawing.Drawing, store: Shards, form: ImageFormat) -> list[int]:
    """The shards to draw, once it is known that they have room."""
    from dimbench.sampling import export

    asked = ready.request.num_images
    if form is ImageFormat.PNG and (store.folder / export.png_name(asked)).exists():
        raise UsageError(
            f"{store.folder} holds more than {asked} PNGs, which a reader of the folder would take for one set; give a "
            "larger --num-images or another --to"
        )
    _check_room(ready, store, f", once as shards and once as {form}")
    return ready.absent(store)


def waiting(to: Path) -> Path:
    """Where the images are while the run goes on."""
    return to.with_name(f"{to.name}.part") if is_sheet(to) else to


def needed(ready: drawing.Drawing, store: Shards, again: bool) -> int:
    """Bytes of the shards that are not there and, where they are written `again` as other files, of all, pictures in
    three colours."""
    absent = max(0, ready.shards - store.done())
    colours = 1 if ready.request.numbers else 3 // store.shape[0]
    images = absent * ready.batch + ready.request.num_images * colours * again
    return images * prod(store.shape) * store.dtype.itemsize


def _check_room(ready: drawing.Drawing, store: Shards, written: str = "") -> None:
    """DimbenchError where the disk has no room for the shards that are not there and, if `written`, for all again."""
    place = next(folder for folder in (store.folder, *store.folder.absolute().parents) if folder.exists())
    takes, free = needed(ready, store, bool(written)), shutil.disk_usage(place).free
    if store.done() < ready.shards and takes > free:
        raise DimbenchError(
            f"{place} has {units.size(free)} free and the images take {units.size(takes)}{written}; make room "
            "or give another --to"
        )


def _export(ready: drawing.Drawing, store: Shards, form: ImageFormat, here: Ranks) -> Path:
    """Write the files of this format from the shards; where they are."""
    from dimbench.sampling import export

    count = ready.request.num_images
    if form is ImageFormat.PNG:
        for index in here.share(range(ready.shards)):
            rows = range(index * ready.batch, min((index + 1) * ready.batch, count))
            export.write_pngs(store.folder, store.read(index)[: len(rows)], rows)
        return store.folder / export.png_name(count - 1)
    file = store.folder / ("latents.npz" if form is ImageFormat.LATENTS else "samples.npz")
    if here.first and export.rows_of(file) != count:
        shards = _shards(store, ready.shards)
        arrays = (images.numpy() if ready.request.numbers else export.pixels(images) for images in shards)
        export.write_npz(file, arrays, count)
    return file


def _shards(store: Shards, count: int) -> Iterator[Tensor]:
    with stepping("writing", count) as progress:
        for index in range(count):
            yield store.read(index)
            progress(index + 1)
