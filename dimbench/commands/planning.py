"""What a long evaluation will need, said before it begins: files, images, network calls, time and disk."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from dimbench import paths, units
from dimbench.commands.drawing import Drawing, Request
from dimbench.errors import DimbenchError
from dimbench.report.tables import Table

if TYPE_CHECKING:
    from dimbench.quality.features import Extractor

Clock = Callable[[], float]
PATIENCE = 5.0  # seconds: a whole batch is tried only where it should take less, else one image speaks for it


@dataclass(frozen=True)
class Step:
    """Seconds of one network call, of decoding and of features for a batch; `tried` images stood for it. `calls` per
    image, None for a sampler that chooses its own."""

    call: float
    decoding: float
    features: float
    tried: int
    calls: int | None

    def seconds(self, batches: int) -> float | None:
        """Of all batches, None where the calls are not known before."""
        if self.calls is None:
            return None
        return batches * (self.calls * self.call + self.decoding + self.features)


def measured_step(ready: Drawing, extractor: Extractor, clock: Clock = perf_counter) -> Step:
    """What one step takes here and now: untrained or trained, a network's weights do not change its time."""
    import torch

    made, guided = ready.batches, ready.settings.cfg != 1
    device = made.device

    def call(n: int) -> torch.Tensor:
        rows = 2 * n if guided else n
        labels = torch.tensor(ready.label_rule.of(range(n)) * (rows // n), device=device)
        with torch.inference_mode():
            return made.network(
                torch.zeros(rows, *made.shape, device=device), torch.full((rows,), 0.5, device=device), labels
            )

    def decode(n: int) -> torch.Tensor:
        latents = torch.zeros(n, *made.shape)
        return made.decode(latents) if made.decode else latents

    def see(n: int) -> torch.Tensor:
        return extractor.features(torch.zeros(n, 3, *size, dtype=torch.uint8))["pool"]

    out = call(1)
    size = _extracted_size(extractor, decode(1).shape[-2:])
    (step, tried), (decoding, _), (features, _) = (_seconds(work, ready.batch, clock) for work in (call, decode, see))
    return Step(step, decoding, features, tried, calls_per_image(ready, out.shape[1]))


def _extracted_size(extractor: Extractor, size: Sequence[int]) -> tuple[int, int]:
    """The digits classifier, where it stands in, sees images of its own size."""
    return (8, 8) if extractor.resize == "none" else (size[0], size[1])


def _seconds(work: Callable[[int], object], batch: int, clock: Clock) -> tuple[float, int]:
    """Seconds for a batch, and how many images were tried; the first try warms up."""
    work(1)
    one = _timed(work, 1, clock)
    if one * batch > PATIENCE:
        return one * batch, 1
    return _timed(work, batch, clock), batch


def _timed(work: Callable[[int], object], n: int, clock: Clock) -> float:
    import torch

    started = clock()
    work(n)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - started


def calls_per_image(ready: Drawing, channels: int) -> int | None:
    """How often the sampler calls the network, by letting it run on one pixel of nothing; None where it decides that
    from what the network says."""
    import torch

    from dimbench.diffusion.convention import Counted

    if ready.settings.sampler == "dopri5":
        return None
    network = Counted(lambda x, t: x.new_zeros(len(x), channels, *x.shape[2:]))
    nothing = torch.zeros(1, ready.shape[0], 1, 1)
    ready.process.sample(
        network, nothing, lambda k, shape: torch.zeros(shape), ready.settings.sampler, ready.settings.steps
    )
    return network.calls


def plan(
    request: Request,
    missing: Sequence[str],
    files: Sequence[tuple[str, Path | None]],
    step: Step | None,
    *,
    images_to_read: int,
    repeats: int,
    keep: bool,
) -> Table:
    """The plan: `files` by purpose, `missing` ones with their homes, and `step` where it could be measured."""
    rows = [(what, _file(path)) for what, path in files if path is not None]
    rows += [("missing", sentence) for sentence in missing]
    sets = f" in each of {repeats} sets" if repeats > 1 else ""
    rows.append(("images", f"{request.num_images:,} of {request.pixels} x {request.pixels} pixels{sets}"))
    if images_to_read:
        rows.append(("", f"{images_to_read:,} real ones to look at first"))
    batches = repeats * math.ceil(request.num_images / request.batch)
    rows += [("network calls", _calls(step, request, batches)), ("time", _time(step, batches))]
    needed = repeats * bytes_on_disk(request) if keep else 0
    rows.append(("disk", f"{units.size(needed)} in {paths.cache_folder()}" if keep else "none, for nothing is kept"))
    return Table(("plan", ""), rows)


def bytes_on_disk(request: Request) -> int:
    """What the images of one set take while they wait."""
    return request.num_images * 3 * request.pixels**2


def check_disk(needed: int) -> None:
    """Raise DimbenchError where the cache's disk has less room."""
    place = next(folder for folder in (paths.cache_folder(), *paths.cache_folder().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise DimbenchError(
            f"the images need {units.size(needed)} and {place} has {units.size(free)} left; make room, set "
            "DIMBENCH_CACHE to another disk, or give --stream to keep none"
        )


def _file(path: Path) -> str:
    if path.is_dir():
        return f"{path}, a folder"
    return f"{path}, {units.size(path.stat().st_size)}" if path.is_file() else f"{path}, absent"


def _calls(step: Step | None, request: Request, batches: int) -> str:
    passes = ", each of two passes (guided)" if request.cfg != 1 else ""
    if step is None:
        return f"not known before the files are here{passes}"
    if step.calls is None:
        return f"as many as the sampler chooses{passes}"
    return f"{step.calls:,} per image{passes}, {step.calls * batches:,} in all with {request.batch} images each"


def _time(step: Step | None, batches: int) -> str:
    if step is None:
        return "not measured: files are missing"
    total = step.seconds(batches)
    parts = f"a call takes {units.duration(step.call)}"
    parts += f", decoding {units.duration(step.decoding)}, features {units.duration(step.features)}"
    said = f"about {units.duration(total)}: " if total is not None else "not known before: "
    return f"{said}{parts} per batch (measured on {step.tried} image{'s' * (step.tried > 1)})"
