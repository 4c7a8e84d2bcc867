"""What a long evaluation will need, said before it begins: files, images, network calls, time and disk."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from dimbench import hub, paths, units
from dimbench.errors import DimbenchError, UsageError
from dimbench.progress import doing, say
from dimbench.quality.networks import SIDE_OF_DIGITS
from dimbench.quality.spread import Spread
from dimbench.sampling import decoding, folder, ranks
from dimbench.sampling.drawing import Drawing, settled
from dimbench.sampling.request import Request
from dimbench.weights import catalog

if TYPE_CHECKING:
    from torch import Tensor

    from dimbench.quality.features import Extractor
    from dimbench.quality.images import Images

Clock = Callable[[], float]
PATIENCE = 5.0  # seconds: more images are tried only where that should take less, else those tried speak for the batch
GROWTH = 4  # a network is no faster for one image than for a few, so that one says nothing of a batch


@dataclass(frozen=True)
class StepCost:
    """Seconds of one network call, of decoding and of features for a batch, None where they could not be measured;
    `tried` images stood for the batch."""

    call: float
    decoding: float | None
    features: float | None
    tried: int

    def seconds(self, batches: float, to_read: float, calls: int) -> float:
        """Of so many batches drawn, and others that are only looked at, as far as it was measured."""
        features = self.features or 0
        return batches * (calls * self.call + (self.decoding or 0) + features) + to_read * features

    @property
    def says(self) -> str:
        """The parts in words; what takes no time is left out."""
        others = {"decoding": self.decoding, "features": self.features}
        parts = [f"{what} {'not measured' if t is None else units.duration(t)}" for what, t in others.items() if t != 0]
        return f"{', '.join([f'a call takes {units.duration(self.call)}', *parts])} per batch ({_tried(self.tried)})"


@doing("measuring a step")
def measured_step(
    ready: Drawing, extractor: Extractor | None, clock: Clock = perf_counter, alone: bool = False
) -> StepCost:
    """What one step takes here and now; of the network `alone`, whose time does not depend on its weights, where no
    decoder is at hand. Without an extractor no features are taken."""
    import torch

    from dimbench.kernels import onednn
    from dimbench.sampling.sample_noise import SampleNoise

    made, run = ready.batches, ready.batches.run

    def call(n: int) -> torch.Tensor:
        noise = SampleNoise(0, range(n), made.device)
        with torch.inference_mode(), onednn.linear_layers():
            return run.once(noise)

    fixed = ready.request.compile or ready.request.cuda_graph  # other numbers would be compiled or recorded for nothing
    seconds, tried = _seconds(call, ready.batch, clock, ready.batch if fixed else 1)
    decoding: float | None = 0.0
    if decode := run.decode:
        shape = ready.backbone.state
        decoding = None if alone else _seconds(lambda n: decode(torch.zeros(n, *shape)), ready.batch, clock)[0]
    features = features_seconds(extractor, ready.request.size, ready.batch, clock)[0] if extractor else 0.0
    return StepCost(seconds, decoding, features, tried)


def features_seconds(
    extractor: Extractor, size: tuple[int, int], batch: int, clock: Clock = perf_counter
) -> tuple[float, int]:
    """Seconds for the features of a batch of images of `size`, and how many images were tried."""
    return _seconds(lambda n: extractor.features(_blank(n, extractor, size)), batch, clock)


def _blank(n: int, extractor: Extractor, size: tuple[int, int]) -> Tensor:
    """As many images of `size`, or as the extractor takes them."""
    import torch

    seen = size if extractor.resize != "none" else (SIDE_OF_DIGITS, SIDE_OF_DIGITS)
    return torch.zeros(n, 3, *seen, dtype=torch.uint8)


def of_images(images: Images, missing: Sequence[str] = ()) -> str:
    """What is known at once of looking at images that are there already, and what is `missing` for it."""
    rows = [("images", f"{images.count:,} of {images.size[0]} x {images.size[1]} pixels in {images.path}")]
    return _lines([*rows, *(("mind", doubt) for doubt in images.doubts("The")), *_missing(missing)])


def looking(
    images: Images,
    missing: Sequence[str],
    batch: int,
    opened: Callable[[], tuple[Extractor, int]],
    planned_ranks: int | None = None,
    common: bool = True,
) -> Iterator[str]:
    """The whole plan of that; `opened` gives the extractor, and how many real images it looks at besides. The rest as
    of_looking."""
    yield of_images(images, missing)
    if not missing:
        extractor, to_read = opened()
        yield of_looking(images, to_read, extractor, batch, planned_ranks, common)


@doing("measuring a step")
def of_looking(
    images: Images,
    to_read: int,
    extractor: Extractor,
    batch: int,
    planned_ranks: int | None = None,
    common: bool = True,
    clock: Clock = perf_counter,
) -> str:
    """How long it takes by this extractor, which is tried, by `planned_ranks` where others run; `common` says whether
    they share the cache."""
    seconds, tried = features_seconds(extractor, images.size, batch, clock)
    widths = {kind: found.shape[1] for kind, found in extractor.features(_blank(1, extractor, images.size)).items()}
    count = planned_ranks or ranks.here().world
    spread = Spread(count, images.count, batch, 0, widths, paths.cache_folder(), common)
    batches = spread.most if count > 1 else images.count / batch
    whole = (batches + to_read / batch / count) * seconds
    rows: list[tuple[str, str]] = []
    if to_read:
        rows.append(("real images", f"{to_read:,} to look at"))
    rows.append(("features", f"{extractor.name}"))
    each = f"{units.duration(seconds)} per batch of {batch} ({_tried(tried)})"
    rows.append(("time", f"about {units.duration(whole)}{_by(count)}: {each}"))
    return _lines([*rows, *(spread.rows() if count > 1 else ())])


def _seconds(work: Callable[[int], object], batch: int, clock: Clock, least: int = 1) -> tuple[float, int]:
    """Seconds for a batch, and how many images were tried, from `least` on as many as there is patience for. Of each
    number the first try warms up, and counts where there is no patience for a second."""
    n = least
    while True:
        seconds = _timed(work, n, clock)
        if seconds <= PATIENCE:
            seconds = _timed(work, n, clock)
        more = min(n * GROWTH, batch)
        if n == batch or 2 * seconds * more / n > PATIENCE:
            return seconds * batch / n, n
        n = more


def _timed(work: Callable[[int], object], n: int, clock: Clock) -> float:
    import torch

    started = clock()
    work(n)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - started


def calls_per_image(request: Request) -> int | None:
    """How often the sampler calls the network, by letting it run on one pixel of nothing; None where it decides that
    from what the network says."""
    import torch

    from dimbench.diffusion.convention import Counted
    from dimbench.diffusion.process import find_process

    diffusion = request.backbone.diffusion
    sampler = request.sampler or diffusion["sampler"]
    if sampler == "dopri5":
        return None
    channels = 2 if diffusion["process"] == "gaussian" else 1  # with the variance
    network = Counted(lambda x, t: torch.zeros(1, channels, *x.shape[2:]))
    side = diffusion.get("upsampling", 1)
    nothing = torch.zeros(1, 1, side, side)
    find_process(diffusion).sample(network, nothing, lambda k, shape: torch.zeros(shape), sampler, request.steps)
    return network.calls


@dataclass(frozen=True)
class Plan:
    """What will be done: `files` by purpose, and what is `missing` with its home."""

    request: Request
    files: Sequence[tuple[str, Path]]
    missing: Sequence[str]
    repeats: int = 1

    @property
    def ready(self) -> Drawing:
        """What draws, or where a file is missing the network untrained, whose time is the same."""
        untrained = replace(self.request, random_weights=True, weights=None, autoencoder=None)
        return Drawing(untrained if self.missing else self.request)

    def known(self) -> str:
        """What is known before anything is loaded, one line for each thing."""
        sets = f", in each of {self.repeats} sets" if self.repeats > 1 else ""
        (height, width), n = self.request.size, self.request.num_images
        rows = [(what, _file(path)) for what, path in self.files]
        if self.request.decoder:
            rows.append(("autoencoder", _decoder(self.request.decoder)))
        rows += _missing(self.missing)
        state = self.request.backbone.state
        clip = f"{state[1]} frames of " if len(state) == 4 else ""
        what = f"of shape {state}" if self.request.numbers else f"of {clip}{height} x {width} pixels"
        calls, batches = calls_per_image(self.request), self.repeats * math.ceil(n / self.request.batch)
        rows += [
            ("images", f"{n:,} {what}{sets}"),
            ("network calls", self._calls(calls, batches)),
        ]
        return _lines(rows)

    def measured(self, step: StepCost, images_to_read: int, spread: Spread, disk: str) -> str:
        """What is known once a step was measured and the reference is open, the time above all; `disk` says what one
        process keeps there."""
        rows = [("real images", f"{images_to_read:,} to look at first")] if images_to_read else []
        rows.append(("time", self._time(step, images_to_read, spread)))
        if spread.ranks > 1:
            rows += spread.rows()
        if spread.ranks == 1 or spread.widths is None:
            rows.append(("disk", disk))
        return _lines(rows)

    def _calls(self, calls: int | None, batches: int) -> str:
        passes = ", each of two passes (guided)" if self.request.cfg != 1 else ""
        if calls is None:
            return f"as many as the sampler chooses{passes}"
        images = min(self.request.batch, self.request.num_images)
        return f"{calls:,} per image{passes}; {calls * batches:,} in all, of {images} images each"

    def _time(self, step: StepCost, images_to_read: int, spread: Spread) -> str:
        calls = calls_per_image(self.request)
        if calls is None:
            return f"not known before: {step.says}"
        to_read = images_to_read / self.request.batch / spread.ranks
        took = units.duration(step.seconds(self.repeats * spread.most, to_read, calls))
        return f"about {took}{_by(spread.ranks)}: {step.says}"


def of_sample(to: Path, request: Request, form: folder.ImageFormat, planned_ranks: int | None = None) -> Iterator[str]:
    """What drawing into `to` takes, by `planned_ranks` where others run: first what is known before anything is
    loaded."""
    sheet = folder.is_sheet(to)
    if sheet and planned_ranks:
        raise UsageError(
            f"--ranks {planned_ranks} is for a folder, and one process draws the sheet {to}; give --to FOLDER"
        )
    settled(request)
    weights = None if request.random_weights else request.checkpoint
    plan = Plan(request, [("weights", weights)] if weights else [], request.missing())
    yield plan.known()
    ready, place = plan.ready, folder.waiting(to)
    store = ready.store(place)
    if not plan.missing:
        store.check()
    step = measured_step(ready, None, alone=bool(plan.missing))
    takes = units.size(folder.needed(ready, store, again=not sheet))
    disk = f"{takes} in {place}" + (" while it runs" if sheet else f", once as shards and once as {form}")
    there = min(ready.shards, store.done())
    if there:
        yield _lines([("there", f"{there:,} of {ready.shards:,} batches, which are not drawn again")])
    left = (ready.shards - there) * ready.batch
    yield plan.measured(
        step,
        0,
        Spread(1 if sheet else planned_ranks or ranks.here().world, left, ready.batch, 0, None, place, True),
        disk,
    )


def bytes_on_disk(request: Request) -> int:
    """What the images of one set take while they wait."""
    return request.num_images * 3 * prod(request.size)


def check_disk(needed: int) -> None:
    """Raise DimbenchError where the cache's disk has less room."""
    place = next(each for each in (paths.cache_folder(), *paths.cache_folder().parents) if each.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise DimbenchError(
            f"the images need {units.size(needed)} and {place} has {units.size(free)} left; make room, set "
            "DIMBENCH_CACHE to another disk, or give --stream to keep none"
        )


def say_first(part: str) -> None:
    """A part of a plan on stderr, by the first rank."""
    if ranks.here().first:
        say(part)


@contextmanager
def beginning_again(what: str) -> Iterator[None]:
    """Inside, `what` is done that keeps nothing, which an interruption says."""
    try:
        yield
    except KeyboardInterrupt:
        say_first(f"dimbench: interrupted; {what}: the same command begins again")
        raise


def _decoder(name: str) -> str:
    if name in decoding.NAMED:
        return _file(catalog.shared(decoding.NAMED[name]) or paths.weights_folder() / decoding.NAMED[name])
    if hub.is_name(name) and not decoding.missing(name):
        return f"{name}, in the hub's cache"
    return _file(Path(name))


def _file(path: Path) -> str:
    if path.is_dir():
        return f"{path}, a folder"
    return f"{path}, {units.size(path.stat().st_size)}" if path.is_file() else f"{path}, absent"


def _missing(sentences: Sequence[str]) -> list[tuple[str, str]]:
    return [("missing", sentence) for sentence in sentences]


def _lines(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"{what:<15}{said}" for what, said in rows)


def _tried(images: int) -> str:
    return f"measured on {images} image{'s' * (images > 1)}"


def _by(ranks: int) -> str:
    return f" by {ranks} ranks as fast as this machine" if ranks > 1 else ""
