"""Images, drawn or given, become records of their quality."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimbench import paths, units
from dimbench.presets import Recipe
from dimbench.quality import networks as comparing
from dimbench.quality import plan as planning
from dimbench.quality import repeating
from dimbench.quality.protocol import METRICS, distance, protocol
from dimbench.quality.spread import Spread
from dimbench.results import Record
from dimbench.sampling import drawing, ranks, sharing
from dimbench.sampling import request as requests
from dimbench.weights import catalog

if TYPE_CHECKING:
    from dimbench.quality.evaluate import Evaluation
    from dimbench.quality.features import Extractor
    from dimbench.quality.images import Images
    from dimbench.quality.networks import Against, Networks
    from dimbench.quality.provenance import FolderClaim
    from dimbench.quality.references import Reference
    from dimbench.sampling.shards import Shards

REAL = "real digits"


@dataclass(frozen=True)
class Evaluated:
    """One record for each set of images, what several say together, and that of real images as the floor of it."""

    sets: list[Record]
    together: Record | None = None
    floor: Record | None = None

    @property
    def records(self) -> list[Record]:
        """What is worth keeping."""
        return [*self.sets, self.together] if self.together else self.sets

    def noted(self, note: Mapping[str, Any]) -> Evaluated:
        """With the note among their details."""

        def add(record: Record) -> Record:
            return replace(record, details={**record.details, **note})

        return replace(self, sets=[*map(add, self.sets)], together=self.together and add(self.together))


class OnDisk:
    """Images that are there already, in a folder or an npz; without a place, real training digits. They are opened."""

    def __init__(
        self,
        place: Path | None,
        reference: Path | None,
        networks: Networks,
        device: str,
        planned_ranks: int | None = None,
    ) -> None:
        from dimbench.quality.images import digit_images, open_images
        from dimbench.quality.provenance import claimed

        self.name = place.name if place else REAL
        self.images = open_images(place) if place else digit_images("train")
        self.claim = claimed(place) if place else None
        height, width = self.images.size
        self.networks, self.device = networks.found((height, width)), device
        self.planned_ranks, self.common = planned_ranks, True
        self.reference, self.missing = reference, self.networks.missing
        self.networks.check_prompts(self.images.count)
        if (height, width) != (comparing.SIDE_OF_DIGITS,) * 2:
            self.reference = reference or catalog.shared(comparing.statistics_name((height, width)))
            absent = [] if self.reference else [comparing.absent_reference((height, width))]
            self.missing = [*absent, *self.missing]

    @cached_property
    def comparison(self) -> Against:
        """What the images are compared with, opened and checked. DimbenchError where something is missing."""
        opened = comparing.opened_reference(self.reference, self.images.size)
        requests.refuse_if_missing(f"the FID of {self.name}", self.missing)
        return comparing.Against(self.images.size, opened, self.networks, self.device, here=ranks.here())

    def plan(self) -> Iterator[str]:
        """What looking at the images takes: first what is known before anything is loaded."""

        def opened() -> tuple[Extractor, int]:
            return self.comparison.extractor, self.comparison.reference.images_to_read

        return planning.looking(self.images, self.missing, comparing.AT_ONCE, opened, self.planned_ranks, self.common)

    def run(self) -> Evaluated:
        """The record of the images, in each rank."""
        comparison = self.comparison  # what does not fit is said alone
        self.common = ranks.here().all_see(paths.cache_folder())
        for part in self.plan():
            planning.say_first(part)
        ranks.here().check_same({"images": self.images.listing, **comparison.files})
        with planning.beginning_again("features of images that lie there are not kept"):
            return Evaluated([_compared(self.images, self.name, comparison, self.claim)])

    def finish(self) -> None:
        """Nothing was kept."""


@dataclass
class ToDraw:
    """Sets of images to be drawn and compared; `stores` keep those of the finished sets until the records are safe.
    The ranks share out the work; where the cache is not `common` to them, each keeps its own images."""

    request: requests.Request
    recipe: Recipe | None
    reference: Path | None
    networks: Networks
    repeats: int
    keep: bool
    stores: list[Shards] = field(default_factory=list)
    opened: Reference | None = None
    common: bool = True
    planned_ranks: int | None = None

    def __post_init__(self) -> None:
        size = self.request.size
        self.networks = self.networks.named(size) if self.request.random_weights else self.networks.found(size)
        if not (self._digits or self.request.random_weights):
            data = self.recipe.data if self.recipe else "ImageNet"
            self.reference = self.reference or catalog.shared(comparing.statistics_name(size, data))

    def open_reference(self) -> Reference | None:
        """The reference, which stays open; None where the digits' own is meant. UsageError where it is of another
        size."""
        if self.opened is None:
            self.opened = comparing.opened_reference(self.reference, self.request.size)
        return self.opened

    @property
    def name(self) -> str:
        return self.recipe.name if self.recipe else self.request.backbone.name

    @property
    def rows(self) -> list[list[Any]]:
        """What tells its records from those of others."""
        sets = [*range(self.repeats), "together"] if self.repeats > 1 else [0]
        asked = self.request
        return [[self.name, asked.steps, asked.cfg, asked.num_images, asked.seed, each] for each in sets]

    @property
    def predicted(self) -> float:
        """Multiply-adds of all its images."""
        return drawing.predicted(self.request) * self.repeats

    @property
    def _digits(self) -> bool:
        return self.request.size == (comparing.SIDE_OF_DIGITS,) * 2

    @property
    def missing(self) -> list[str]:
        """What has to be fetched first."""
        if self.recipe and not self.request.random_weights:
            return list(repeating.needs(self.recipe, self.request, self.reference, self.networks.inception).values())
        missing = self.request.missing()
        if self.request.random_weights:
            return missing
        if self.reference is None and not self._digits:
            missing.append(comparing.absent_reference(self.request.size))
        return [*missing, *self.networks.missing]

    def plan(self) -> Iterator[str]:
        """What the task needs: first what is known before anything is loaded, then how long it takes; what is here is
        opened and checked."""
        drawing.settled(self.request)
        plan = self._plan()
        yield plan.known()
        self.open_reference()
        yield self._how_long(plan, plan.ready, None if plan.missing else self.comparison())

    def _plan(self) -> planning.Plan:
        weights = None if self.request.random_weights else self.request.checkpoint
        networks = (("inception", self.networks.inception), ("vgg", self.networks.vgg))
        files = (("weights", weights), ("reference", self.reference), *networks)
        here = [(what, path) for what, path in files if path is not None]
        return planning.Plan(self.request, here, self.missing, self.repeats)

    def _how_long(self, plan: planning.Plan, ready: drawing.Drawing, comparison: Against | None) -> str:
        step = planning.measured_step(ready, comparison.extractor if comparison else None, alone=not comparison)
        step = step if comparison else replace(step, features=None)
        bytes_on_disk = units.size(self.repeats * planning.bytes_on_disk(self.request))
        disk = f"{bytes_on_disk} in {paths.cache_folder()} while it runs" if self.keep else "none, for no image is kept"
        reference = comparison.reference if comparison else self.opened
        to_read = reference.images_to_read if reference else 0
        return plan.measured(step, to_read, self._spread(ready, comparison), disk)

    def _spread(self, ready: drawing.Drawing, comparison: Against | None) -> Spread:
        image_bytes = planning.bytes_on_disk(self.request) // self.request.num_images if self.keep else 0
        return Spread(
            self.planned_ranks or ranks.here().world,
            self.request.num_images,
            ready.batch,
            image_bytes,
            comparison.widths if comparison else comparing.WIDTHS.get(self.networks.extractor or "", {}),
            paths.cache_folder(),
            self.common,
            self.repeats,
        )

    def comparison(self) -> Against:
        """What the images are compared with."""
        return comparing.Against(
            self.request.size,
            self.open_reference(),
            self.networks,
            self.request.device,
            dry=self.request.random_weights,
            here=ranks.here(),
        )

    def run(self) -> Evaluated:
        """The records of all sets, in each rank. DimbenchError where something is missing."""
        drawing.settled(self.request)
        self.common = ranks.here().all_see(paths.cache_folder())
        self.open_reference()  # a wrong size is said before what is missing
        requests.refuse_if_missing(f"the FID of {self.request.backbone.name}", self.missing, requests.DRY)
        plan = self._plan()
        planning.say_first(plan.known())
        comparison, ready = self.comparison(), drawing.Drawing(self.request)
        ranks.here().check_same({**ready.conditions, **ready.code, **comparison.files})
        planning.say_first(self._how_long(plan, ready, comparison))
        if self.keep:
            planning.check_disk(self.repeats * planning.bytes_on_disk(self.request))
        records = []
        for repeat in range(self.repeats):
            request = replace(self.request, seed=self.request.seed + repeat)
            records.append(self._measured(drawing.Drawing(request) if repeat else ready, comparison))
        digits = self._digits and self.reference is None
        return Evaluated(
            records,
            together=summarised(records) if self.repeats > 1 else None,
            floor=_real_digits(comparison) if digits and self.repeats == 1 else None,
        )

    def finish(self) -> None:
        """Delete the images, now that the records are safe."""
        ranks.here().wait()
        for store in self.stores:
            store.remove()

    def _measured(self, ready: drawing.Drawing, comparison: Against) -> Record:
        store = self._store(ready)
        own = store is not None and (ranks.here().first or not self.common)
        kept = store.claimed() if store and own else nullcontext()
        with kept if store else planning.beginning_again("--stream keeps no image"):
            evaluation, pixels = self._evaluated(ready, store, comparison)
        if store and own:
            self.stores.append(store)
        conditions = {**ready.conditions, "uint8": uint8_rule(), **comparison.conditions}
        details: dict[str, Any] = {"protocol": protocol(conditions), "pixels_sha256": pixels}
        warnings = [*ready.warnings, *comparison.warnings, *evaluation.warnings]
        if self.recipe:
            claims = {"fid": self.recipe.fid, **self.recipe.also}
            details |= {"recipe": self.recipe.name, "claims": claims, "source": self.recipe.source}
            warnings += repeating.doubts(self.recipe, self.request)
        drawn = ready.drawn
        return Record(
            "fid",
            ready.backbone.name,
            conditions,
            {
                **evaluation.metrics,
                "network_calls": drawn.network_calls,
                "seconds": drawn.seconds,
                **ready.decoding_cost,
            },
            details=details,
            warnings=tuple(warnings),
        )

    def _store(self, ready: drawing.Drawing) -> Shards | None:
        """Where the images are kept; None where they are not."""
        if not self.keep:
            return None
        store = ready.store()
        return store if self.common else ready.store(store.folder.with_suffix(f".rank-{ranks.here().rank}"))

    def _evaluated(self, ready: drawing.Drawing, store: Shards | None, comparison: Against) -> tuple[Evaluation, str]:
        total, here = self.request.num_images, ranks.here()
        if here.world == 1:
            return comparison.evaluate(ready.stream(store) if store else ready.stream(), total)
        return comparison.evaluate_shared(sharing.numbered(ready, here, store, self.common), total, ready.batch)


def summarised(records: Sequence[Record]) -> Record:
    """Mean, its standard error over draws of the images, spread (standard deviation of the sample) and minimum of the
    FIDs of several seeds, and all metrics raw."""
    first = records[0]
    names = [name for name in METRICS if name in first.metrics]
    raw = {name: [float(record.metrics[name] or 0) for record in records] for name in names}
    own = distance(first.metrics)
    fids = raw[own]
    seeds = ", ".join(str(record.conditions["seed"]) for record in records)
    conditions = {**first.conditions, "seed": seeds, "repeats": len(records)}
    said = {"mean": statistics.mean(fids), "spread": statistics.stdev(fids), "minimum": min(fids)}
    errors = [error for record in records if (error := record.metrics.get(f"{own}_error")) is not None]
    if len(errors) == len(records):
        said["error"] = math.hypot(*errors) / len(errors)
    metrics = {f"{own}_{name}": value for name, value in said.items()}
    details = {**first.details, "protocol": protocol(conditions)}
    del details["pixels_sha256"]
    return Record("fid", first.model, conditions, metrics, samples=raw, details=details)


def uint8_rule() -> str:
    """How numbers become pixels."""
    from dimbench.data.pixels import UINT8_RULE

    return UINT8_RULE


def _real_digits(comparison: Against) -> Record:
    """Real training digits in the place of drawn ones: the lowest FID a model of them can hope for."""
    from dimbench.quality.images import digit_images

    images = digit_images("train")
    return _compared(images, REAL, comparison)


def _compared(images: Images, name: str, comparison: Against, claim: FolderClaim | None = None) -> Record:
    """The record of images that are there already; a `claim` of how they were drawn is used where it holds."""
    evaluation, pixels = comparison.evaluate_images(images, name)
    warnings = [*images.doubts("The"), *comparison.warnings, *evaluation.warnings]
    drawn: dict[str, Any] = {}
    if claim and claim.holds(images.count, pixels):
        drawn = claim.settings
    elif claim:
        warnings.insert(0, claim.refuted)
    if drawn.get("weights") == "random":
        warnings.insert(0, "The images were drawn with random weights: the number means nothing.")
    height, width = images.size
    conditions = {
        **{key: value for key, value in drawn.items() if key != "model"},
        "images": name,
        "images_sha256": pixels[:16],
        "resolution": height if height == width else f"{height} x {width}",
        "num_images": images.count,
        "uint8": uint8_rule() if drawn else "as given",
        **comparison.conditions,
    }
    details = {"protocol": protocol(conditions), "pixels_sha256": pixels}
    model = drawn.get("model", name)
    return Record("fid", model, conditions, evaluation.metrics, details=details, warnings=tuple(warnings))
