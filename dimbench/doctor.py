"""What this machine has for dimbench, what is missing, and the line that mends it. It measures and changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dimbench import names, paths, presets, results, units
from dimbench.errors import DimbenchError, UsageError
from dimbench.progress import stepping, track


class Health(StrEnum):
    """`MIND`: it runs, and something about it should be known."""

    GOOD = "good"
    MIND = "mind"
    MISSING = "missing"


@dataclass(frozen=True)
class Symptom:
    """One thing that was looked at: `says` what is there, `fix` is a line to type or do, "" where there is none."""

    part: str
    what: str
    health: Health
    says: str
    fix: str = ""


# By the extra that brings it: the module, and what is lost without it.
_EXTRAS = {
    "text": ("transformers", "text encoders are not counted"),
    "quant": ("torchao", "no --with quantisation"),
    "gpu": ("nvidia-ml-py", "clocks, energy and other users of a GPU are not measured"),
    "mamba": ("mamba-ssm", "no kernel mamba-ssm, which needs a GPU"),
}
_LITTLE_DISK, _LITTLE_MEMORY = 5e9, 2e9  # bytes, below which it is said
_OLD = 90  # days, after which what was measured of a machine is called old


def examine() -> list[Symptom]:
    """Everything, part by part."""
    parts = (software, devices, kernels, files, places, measured, commands)
    found: list[Symptom] = []
    with stepping("examining", len(parts), transient=True) as progress:
        for done, part in enumerate(parts):
            progress(done, part.__name__)
            found += part()
    return found


def software() -> Iterator[Symptom]:
    """Python, torch, the driver, the compiler, optional packages."""
    yield Symptom("software", "Python", Health.GOOD, f"version {platform.python_version()} at {sys.executable}")
    yield _torch()
    yield _compiler()
    for extra, (package, lost) in _EXTRAS.items():
        here = _version(package)
        fix = "" if here else f'pip install "dimbench[{extra}]"'
        yield Symptom(
            "software",
            package,
            Health.GOOD if here else Health.MIND,
            f"version {here}" if here else f"not installed: {lost}",
            fix,
        )


def _torch() -> Symptom:
    import torch

    built, said = torch.version.cuda, f"version {torch.__version__}"
    if torch.cuda.is_available():
        return Symptom("software", "torch", Health.GOOD, f"{said}, for CUDA {built}; the driver runs {_driver()}")
    if built is None:
        return Symptom("software", "torch", Health.GOOD, f"{said}, for the CPU alone")
    if not (driver := _driver()):
        return Symptom("software", "torch", Health.GOOD, f"{said}, for CUDA {built}; there is no NVIDIA driver here")
    fix = f"update the driver, or install a torch for CUDA {driver} (pytorch.org says how)"
    return Symptom(
        "software", "torch", Health.MISSING, f"{said} is for CUDA {built}, and the driver runs {driver}", fix
    )


def _driver() -> str:
    """The newest CUDA that the driver runs, such as "12.4"; "" without a driver."""
    import torch

    ask = getattr(torch._C, "_cuda_getDriverVersion", None)
    number = ask() if ask and Path("/proc/driver/nvidia/version").exists() else 0
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""


def _compiler() -> Symptom:
    from dimbench.kernels import native

    try:
        return Symptom("software", "C++ compiler", Health.GOOD, native.find_compiler())
    except DimbenchError as error:
        return Symptom(
            "software", "C++ compiler", Health.MIND, f"{error}; kernels cpu cannot be built", "apt install g++"
        )


def devices() -> Iterator[Symptom]:
    """The processor and each GPU, with the memory that is free and what else uses them."""
    import torch

    from dimbench.bench import hardware

    host = hardware.host()
    free = host.available
    busy = host.load is not None and host.load > 0.5 * host.usable
    said = [f"{results.describe_machine()['processor']}, {host.usable} of {host.cpus} CPUs"]
    said += [] if host.quota is None else [f"a quota of {host.quota:g}"]
    said += [] if free is None else [f"{units.size(free)} of memory free"]
    said += [] if host.load is None else [f"load {host.load:g}"]
    short = free is not None and free < _LITTLE_MEMORY
    fix = "wait until other work ends before you measure" if busy else "end other programs" if short else ""
    yield Symptom("devices", "cpu", Health.MIND if fix else Health.GOOD, ", ".join(said), fix)
    for index in range(torch.cuda.device_count()):
        yield _gpu(index)


def _gpu(index: int) -> Symptom:
    import torch

    from dimbench.bench import nvml

    place = f"cuda:{index}"
    known = torch.cuda.get_device_properties(place)
    gpu = nvml.find(str(known.uuid))
    state = gpu.state() if gpu else None
    others = [pid for pid in state.processes if pid != os.getpid()] if state else []
    free, whole = torch.cuda.mem_get_info(place)
    said = [known.name, f"{units.size(free)} of {units.size(whole)} free"]
    said += [f"used by processes {', '.join(map(str, others))}"] if others else []
    said += [f"slowed by {', '.join(state.throttled)}"] if state and state.throttled else []
    fix = "wait until it is free before you measure" if others else ""
    return Symptom("devices", place, Health.MIND if len(said) > 2 else Health.GOOD, ", ".join(said), fix)


def kernels() -> Iterator[Symptom]:
    """Each operator's backends, and why one cannot run, on the best device there is."""
    import torch

    from dimbench.kernels import backends

    device = "cuda" if torch.cuda.is_available() else "cpu"
    for operator in backends.operators().values():
        inputs = operator.example(backends.Size(length=16, channels=16, device=device)).inputs
        runs = operator.backend_for(*inputs)
        for name in operator.names:
            why = operator.why_not(name, *inputs)
            said = f"cannot on {device}: {why}" if why else f"runs on {device}" if name == runs else f"can on {device}"
            yield Symptom(f"kernels of {operator.operator}", name, Health.MIND if why else Health.GOOD, said)


def files() -> Iterator[Symptom]:
    """Published weights that are here, and what else drawing and evaluating need."""
    from dimbench.weights import catalog, ledger

    entries = [entry for entry in catalog.everything() if not entry.ships]
    needed = {name: [e for e in entries if e.owner == name and not e.checkpoint] for name in presets.shared_files()}
    ours = {entry.name: [entry] for entry in entries if entry.checkpoint and entry.path.is_file()}
    for name, group in {**needed, **ours}.items():
        absent = [entry for entry in group if not entry.path.is_file()]
        if absent:
            said = "not here" if len(absent) == len(group) else f"{absent[0].name} is not here"
            yield Symptom("files", name, Health.MIND, said, f"dimbench weights fetch {name}")
            continue
        checked = all(ledger.state(entry.path, entry.file) == "verified" for entry in group)
        size = units.size(sum(entry.path.stat().st_size for entry in group))
        said = f"{'verified' if checked else 'not checked since it came or changed'}, {size}"
        fix = "" if checked else f"dimbench weights check {name}"
        yield Symptom("files", name, Health.GOOD if checked else Health.MIND, said, fix)
    many = sum(entry.checkpoint is not None for entry in entries)
    yield Symptom(
        "files",
        "weights",
        Health.GOOD,
        f"published files that are here: {len(ours)} of {many}",
        "dimbench weights list",
    )


def places() -> Iterator[Symptom]:
    """The folders that are written to."""
    for what, folder, variable in (
        ("cache", paths.cache_folder(), "DIMBENCH_CACHE"), ("results", paths.results_folder(), "DIMBENCH_RESULTS"),
    ):  # fmt: skip
        nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        fix = f"set {variable} to another folder"
        if not os.access(nearest, os.W_OK):
            yield Symptom("folders", what, Health.MISSING, f"{folder}: {nearest} cannot be written to", fix)
            continue
        free = shutil.disk_usage(nearest).free
        little = free < _LITTLE_DISK
        made = "" if folder.exists() else ", made when it is needed"
        said = f"{folder}{made}, {units.size(free)} free"
        yield Symptom("folders", what, Health.MIND if little else Health.GOOD, said, fix if little else "")


def measured() -> Iterator[Symptom]:
    """What was measured of this machine for later use: its ceilings and its noise."""
    import torch

    from dimbench.bench import ceilings, running
    from dimbench.comparing import noise

    known = noise.known()
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        name = torch.cuda.get_device_name() if device == "cuda" else running.device_name("cpu")
        found = ceilings.load(name, torch.get_num_threads() if device == "cpu" else None)
        line = f"dimbench device{'' if device == 'cpu' else f' --device {device}'}"
        if found is None:
            yield Symptom("measured", f"ceilings of {device}", Health.MIND, "not measured: bench shows no MFU", line)
        else:
            days = (datetime.now(UTC) - datetime.fromisoformat(found.created)).days
            old = days > _OLD or found.torch != torch.__version__
            said = f"measured {days} days ago, with torch {found.torch}"
            yield Symptom(
                "measured", f"ceilings of {device}", Health.MIND if old else Health.GOOD, said, line if old else ""
            )
        calibrated = name in known
        says = "calibrated" if calibrated else "not calibrated: compare keeps the margins that are asked for"
        fix = "" if calibrated else "dimbench calibrate dit-digits"
        yield Symptom("measured", f"noise of {device}", Health.GOOD if calibrated else Health.MIND, says, fix)


def commands() -> Iterator[Symptom]:
    """Which command runs, and what those lack that need more than what is installed."""
    import torch

    from dimbench.quality import repeating
    from dimbench.weights import catalog

    where = "runs on cpu and cuda" if torch.cuda.is_available() else "runs on cpu; --device cuda needs a GPU"
    for name in ("bench", "sweep", "device", "calibrate", "train"):
        yield Symptom("commands", name, Health.GOOD, where)
    here = {entry.owner for entry in catalog.everything() if entry.checkpoint and entry.path.is_file()}
    yield Symptom("commands", "sample", Health.GOOD, f"draws {', '.join(sorted(here))}", "dimbench weights fetch NAME")
    recipes = presets.recipes()
    ready = sum(not repeating.needs(recipe) for recipe in recipes.values())
    said = f"runs on digits; published FIDs that can be repeated: {ready} of {len(recipes)}"
    fix = "" if ready else "dimbench doctor --for fid:NAME"
    for name in ("fid", "fid-lottery", "frontier"):
        yield Symptom("commands", name, Health.GOOD if ready else Health.MIND, said, fix)
    inception = catalog.shared("inception") is not None
    said = "runs" if inception else "runs on images of 8 x 8 pixels; others need the weights of Inception"
    fix = "" if inception else "dimbench weights fetch inception"
    yield Symptom("commands", "stats", Health.GOOD if inception else Health.MIND, said, fix)
    git = shutil.which("git")
    said = "runs" if git else "runs on record files; --run needs git, which is not installed"
    yield Symptom("commands", "compare", Health.GOOD if git else Health.MIND, said, "" if git else "apt install git")
    yield Symptom("commands", "all others", Health.GOOD, "run")


def asked_for(wanted: Sequence[str]) -> list[Symptom]:
    """What each of them lacks here."""
    return [symptom for text in track(wanted, "examining") for symptom in _asked_for(text)]


def _asked_for(text: str) -> list[Symptom]:
    """What "COMMAND:NAME", such as "fid:dit-xl2", lacks here; one good symptom where it lacks nothing. UsageError for a
    command or a name that is not known."""
    command, colon, name = text.partition(":")
    needs = names.find(command, _NEEDS, "command of --for", f"give one of {', '.join(_NEEDS)} with a name behind it")
    if not colon or not name:
        raise UsageError(f"--for {text} names no model; give one, such as --for {command}:dit-xl2")
    try:
        missing = needs(name)
    except UsageError:
        raise
    except DimbenchError as error:
        missing = [str(error)]
    if not missing:
        return [Symptom("asked for", text, Health.GOOD, "runs")]
    return [Symptom("asked for", text, Health.MISSING, *_mended(said)) for said in missing]


def _mended(said: str) -> tuple[str, str]:
    """ "--weights FILE: the checkpoint, x.pt from ..." and the line that brings it, where a command can."""
    from dimbench.weights import catalog

    for entry in catalog.everything():
        if any(name in said for name in (entry.name, entry.official_name)):
            return said, f"dimbench weights fetch {entry.name}"
    for name in presets.shared_files():
        if f"{name}," in said:
            return said, f"dimbench weights fetch {name}"
    return said, ""


def _of_fid(name: str) -> list[str]:
    from dimbench import verbs
    from dimbench.quality import repeating
    from dimbench.quality.evaluating import ToDraw

    recipes = presets.recipes()
    if recipe := recipes.get(name):
        return list(repeating.needs(recipe).values())
    task = verbs.fid_task(presets.one(name))
    assert isinstance(task, ToDraw)
    return task.missing


def _of_sample(name: str) -> list[str]:
    from dimbench.backbone import find
    from dimbench.sampling.request import Request

    return Request(backbone=find(presets.one(name)), num_images=1, steps=1).missing()


def _of_bench(name: str) -> list[str]:
    from dimbench.bench import running
    from dimbench.bench.rows import Row

    running.check([Row(presets.one(name))])
    return []


def _of_count(name: str) -> list[str]:
    from dimbench.backbone import find

    find(presets.one(name))
    return []


_NEEDS: dict[str, Callable[[str], list[str]]] = {
    "fid": _of_fid, "fid-lottery": _of_fid, "frontier": _of_fid, "sample": _of_sample, "bench": _of_bench,
    "compare": _of_bench, "calibrate": _of_bench, "flops": _of_count, "params": _of_count, "choose": _of_count,
    "cost": _of_count,
}  # fmt: skip


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
