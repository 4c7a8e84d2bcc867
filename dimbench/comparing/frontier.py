"""One network under many methods: what each leaves out and takes, how far its images move, and their quality.

The images are drawn in rounds. In each, a batch of the same noise is drawn under every condition in turn, forwards and
backwards, so that what slows the machine slows all of them; every batch is kept until the records are safe.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimbench import conditions as keys
from dimbench import methods, paths, results, stats
from dimbench.bench import devices, doubts, timing
from dimbench.bench.alternating import ratios
from dimbench.bench.job_shards import JobShard
from dimbench.bench.running import Measured
from dimbench.comparing.drift import Drift
from dimbench.errors import DimbenchError, UsageError
from dimbench.progress import say, stepping
from dimbench.quality.evaluating import ToDraw, uint8_rule
from dimbench.quality.networks import DIGITS
from dimbench.quality.protocol import protocol
from dimbench.results import Record
from dimbench.sampling import guides, run
from dimbench.sampling.drawing import Drawing
from dimbench.sampling.image_cost import ImageCost, image_cost, named, traced
from dimbench.sampling.request import DRY, refuse_if_missing
from dimbench.sampling.sample_noise import SampleNoise
from dimbench.sampling.shards import Shards

Texts = tuple[str, ...]
"""The methods of a condition, none for the plain run."""

PLAIN: Texts = ()


@dataclass
class _Lane:
    """A condition on its way: `store` keeps what it draws, `times` seconds and peak bytes of each round."""

    drawing: Drawing
    cost: ImageCost | None
    store: Shards
    times: Shards


@dataclass
class Frontier:
    """A `task` of drawing and comparing, under each of the `wanted` conditions; where those are left open, under every
    method that can wrap the network. Only those of the `shard` become records."""

    task: ToDraw
    wanted: Sequence[Texts] = ()
    shard: JobShard = field(default_factory=JobShard)
    failures: list[DimbenchError] = field(default_factory=list)

    def run(self, file: Path) -> Measured:
        """The record of each condition, the plain run first; those that are in `file` are not measured again. The new
        ones are appended to it. UsageError for a method that was asked for and cannot wrap the network."""
        refuse_if_missing(f"the frontier of {self.task.request.backbone.name}", self.task.missing, DRY)
        plain = Drawing(self.task.request)
        comparison = self.task.comparison()
        device = devices.find(plain.request.device, results.describe_machine()["processor"])
        machine = {"batch": plain.batch, "device_name": device.name, "threads": device.threads}
        shared = {**machine, "uint8": uint8_rule(), **comparison.conditions}
        whole = self._asked(plain)
        mine = self._of_shard(plain, whole)
        asked = {texts: {**plain.conditions, **_methods(texts, plain), **shared} for texts in mine}
        self.shard.said_if_empty(whole, mine, file)
        note = self.shard.note(whole, mine)
        known = _known(plain, results.so_far(file))
        missing = [texts for texts, conditions in asked.items() if keys.key(conditions) not in known]
        if len(missing) < len(asked):
            say(f"dimbench: {len(asked) - len(missing)} of {len(asked)} rows are in {file}")
        new: dict[str, Record] = {}
        if missing:
            folder = (
                paths.cache_folder()
                / "frontier"
                / _digest([plain.backbone.name, plain.conditions, plain.code, shared, note])
            )
            lanes = self._lanes(plain, [PLAIN, *(texts for texts in missing if texts)], folder)
            self._draw(lanes, set(missing), device)
            finished = [texts for texts in missing if texts in lanes]
            with stepping("comparing", len(finished)) as progress:
                for done, texts in enumerate(finished):
                    progress(done, _said(texts))
                    record = _record(lanes, texts, plain, comparison, asked[texts])
                    record = replace(record, details={**record.details, **plain.code, **note})
                    results.append([record], file)
                    new[keys.key(asked[texts])] = record
                progress(len(finished))
            shutil.rmtree(folder, ignore_errors=True)
        found = {**{key: Record(**record) for key, record in known.items()}, **new}
        return Measured([found[key] for key in map(keys.key, asked.values()) if key in found], self.failures)

    def _asked(self, plain: Drawing) -> list[Texts]:
        """The plain run and the others, each once and as records name it."""
        if self.wanted:
            found = [tuple(map(str, methods.parse(texts))) for texts in self.wanted]
        else:
            times = run.times_of_calls(plain.process, plain.settings, run.denoised(plain.backbone))
            points = {name: kind.points(times) for name, kind in methods.METHODS.items()}
            found = [(str(method),) for each in points.values() for method in each]
            if unset := [name for name, each in points.items() if not each]:
                say(f"dimbench: not tried, as they need settings of yours by --with: {', '.join(unset)}")
        return list(dict.fromkeys([PLAIN, *found]))

    def _of_shard(self, plain: Drawing, whole: Sequence[Texts]) -> list[Texts]:
        """Those of the shard, balanced by what they execute; the plain run is drawn beside them in any case."""
        if self.shard.parts == 1:
            return list(whole)
        return [whole[number] for number in self.shard.numbers([_predicted(plain, texts) for texts in whole])]

    def _lanes(self, plain: Drawing, asked: Sequence[Texts], folder: Path) -> dict[Texts, _Lane]:
        """Those that can run here, counted and tried on one image."""
        lanes: dict[Texts, _Lane] = {}
        refused: dict[str, None] = {}
        decoded = bool(plain.batches.run.decode)
        with stepping("counting", len(asked)) as progress:
            for done, texts in enumerate(asked):
                progress(done, _said(texts))
                try:
                    drawing = plain.under(texts)
                    by_values = any(method.by_values for method in drawing.settings.methods)
                    cost = None if by_values else image_cost(drawing.backbone, drawing.settings, decoded)
                    if not by_values:
                        _drawn(drawing, range(1))
                except UsageError as error:
                    if self.wanted or not texts:
                        raise
                    refused[str(error)] = None
                except DimbenchError as error:
                    self._fail(texts, error)
                else:
                    store = drawing.store(folder / _digest(texts))
                    times = Shards(folder / f"{_digest(texts)}-times", {"methods": list(texts)}, 1, (2,), torch.float64)
                    lanes[texts] = _Lane(drawing, cost, store, times)
            progress(len(asked))
        for why in refused:
            say(f"dimbench: left out: {why}")
        return lanes

    def _fail(self, texts: Texts, error: DimbenchError) -> None:
        """Of the methods that nobody asked for, one without effect is left out and no failure; without the plain run
        there is nothing to compare with."""
        if not texts:
            raise error
        if self.wanted:
            self.failures.append(error)
        else:
            say(f"dimbench: left out: {error}")

    def _draw(self, lanes: dict[Texts, _Lane], wanted: set[Texts], device: devices.Device) -> None:
        """All rounds while there is one for the wanted; a condition that fails in one is no lane any longer. A
        round that was cut off is drawn anew as a whole, so that its times are of one stretch."""
        rounds = lanes[PLAIN].drawing.shards
        with ExitStack() as stack, stepping("drawing", rounds * len(lanes)) as progress:
            for texts, lane in lanes.items():
                stack.enter_context(lane.store.claimed(said=not texts))
                stack.enter_context(lane.times.claimed(said=False))
            absent = {
                k for lane in lanes.values() for shards in (lane.store, lane.times) for k in shards.missing(rounds)
            }
            done = (rounds - len(absent)) * len(lanes)
            for turn in sorted(absent):
                order = list(lanes) if turn % 2 else list(reversed(lanes))
                for texts in order:
                    progress(done, _said(texts))
                    try:
                        _round(lanes[texts], turn, device)
                    except DimbenchError as error:
                        self._fail(texts, error)
                        del lanes[texts]
                        if not wanted & lanes.keys():
                            return
                    done += 1
            progress(rounds * len(lanes))


def _round(lane: _Lane, turn: int, device: devices.Device) -> None:
    """Draw and keep one batch, timed from noise to picture."""
    ready, drawn = lane.drawing, list[Tensor]()
    rows = range(turn * ready.batch, (turn + 1) * ready.batch)
    device.probe.reset()
    seconds = timing.one_call(lambda: drawn.append(_drawn(ready, rows)), device.clock)
    lane.times.write(turn, torch.tensor([[seconds, device.probe.peak()]], dtype=torch.float64))
    lane.store.write(turn, drawn[0])


def _methods(texts: Texts, plain: Drawing) -> dict[str, Any]:
    return {**methods.conditions(texts), **guides.fingerprints(methods.parse(texts), plain.backbone)}


def _predicted(plain: Drawing, texts: Texts) -> float:
    """Multiply-adds of an image; 0 where the run is drawn anyway, and where only values or a failure will tell."""
    try:
        settings = plain.under(texts).settings
        by_values = any(method.by_values for method in settings.methods)
        return 0.0 if by_values or not texts else image_cost(plain.backbone, settings, decoded=False).macs("macs")
    except DimbenchError:
        return 0.0


@torch.inference_mode()
def _drawn(ready: Drawing, rows: range) -> Tensor:
    """Samples as the network draws them, on the CPU; decoded for the time it takes, which belongs to an image."""
    batches = ready.batches
    x = batches.run.sample(SampleNoise(batches.seed, rows, batches.device))
    if batches.run.decode:
        batches.run.decode(x)
    return x.cpu()


def _record(
    lanes: Mapping[Texts, _Lane], texts: Texts, plain: Drawing, comparison: Any, conditions: Mapping[str, Any]
) -> Record:
    """What all rounds of a condition say, beside the plain ones."""
    lane, base = lanes[texts], lanes[PLAIN]
    cost, whole = _cost(lane), _cost(base)
    drift = Drift()
    labels = comparison.extractor.name == DIGITS and not comparison.shrink

    def images() -> Iterator[Tensor]:
        for turn in range(plain.shards):
            count = min(plain.batch, plain.request.num_images - turn * plain.batch)
            pair = [(x, _pictures(plain, x)) for x in (each.store.read(turn)[:count] for each in (base, lane))]
            drift.add(pair[0], pair[1])
            if labels:
                classes = [comparison.extractor.features(each)["logits"].argmax(dim=1) for _, each in pair]
                drift.add_labels(classes[0], classes[1])
            yield pair[1][1]

    evaluation, pixels = comparison.evaluate(images(), plain.request.num_images)
    seconds, plain_seconds = _seconds(lane, plain.batch), _seconds(base, plain.batch)
    metrics = {
        "run_macs": cost.macs("macs"),
        **named(cost.by_numbers),
        "share_of_plain": _over(cost.macs("macs"), whole.macs("macs")),
        **_summary("seconds", seconds),
        **_summary("time_of_plain", ratios(seconds, plain_seconds)),
        "peak_bytes": max(row[1] for row in _times(lane)),
        "network_calls": cost.calls,
        "passes_per_image": cost.passes,
        **drift.metrics,
        **evaluation.metrics,
    }
    found = methods.parse(texts)
    said = [*plain.warnings, *comparison.warnings, *evaluation.warnings]
    said += [str(doubt) for doubt in doubts.of_methods(found)]
    details = {
        "protocol": protocol(conditions),
        "pixels_sha256": pixels,
        "macs_by_operator": _shares(cost, whole),
        "counted_on": cost.bill.counted_on,
    }
    samples = {"seconds": seconds}
    return Record("frontier", plain.backbone.name, conditions, metrics, tuple(said), samples, details)


def _cost(lane: _Lane) -> ImageCost:
    """Counted on shapes, or where those do not decide it on the first batch."""
    if lane.cost is None:
        ready = lane.drawing
        noise = SampleNoise(ready.request.seed, range(ready.batch), ready.request.device)
        with torch.inference_mode():
            lane.cost = traced(ready.batches.run, noise)
    return lane.cost


def _shares(cost: ImageCost, plain: ImageCost) -> dict[str, dict[str, float | int | None]]:
    """By operator the multiply-adds of an image, and their share of the plain run's."""
    ours, theirs = cost.bill.by_operator, plain.bill.by_operator
    return {
        name: {
            "macs": ours.get(name, 0) // cost.bill.batch,
            "of_plain": _over(ours.get(name, 0) / cost.bill.batch, theirs.get(name, 0) / plain.bill.batch),
        }
        for name in {**theirs, **ours}
    }


def _over(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _pictures(plain: Drawing, x: Tensor) -> Tensor:
    """Samples as the images that are compared."""
    with torch.inference_mode():
        decode, finish = plain.batches.run.decode, plain.batches.finish
        return finish(decode(x.to(plain.batches.device)) if decode else x).cpu()


def _times(lane: _Lane) -> list[list[float]]:
    return [lane.times.read(turn)[0].tolist() for turn in range(lane.drawing.shards)]


def _seconds(lane: _Lane, batch: int) -> list[float]:
    """Of one image, a figure per round."""
    return [row[0] / batch for row in _times(lane)]


def _summary(name: str, series: Sequence[float]) -> dict[str, float | None]:
    low, high = stats.median_interval(series) or (None, None)
    return {name: stats.median(series), f"{name}_low": low, f"{name}_high": high}


def _known(plain: Drawing, records: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The frontier's records of the model as it is now, by their conditions, the newest of each."""
    of_model = [
        each
        for each in records
        if (each["command"], each["model"]) == ("frontier", plain.backbone.name)
        and each["details"].get("code") == plain.code.get("code")
    ]
    return {keys.key(record["conditions"]): record for record in of_model}


def _digest(what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _said(texts: Texts) -> str:
    return " + ".join(texts) or "plain"
