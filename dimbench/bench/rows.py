"""What is to be measured: rows of one model under one set of conditions, checked before any is run. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from dimbench import presets
from dimbench.bench import hardware
from dimbench.errors import UsageError
from dimbench.image_size import Resolution, sides
from dimbench.presets import Preset

BEST = "best"


@dataclass(frozen=True)
class Row:
    """`model` is a text that backbone.find takes, with `inputs` and `process` as it takes them; `batch` a number of
    images or "best"; `mode` inference, train or, for whole sampling runs of `steps`, sample; `sampler` None is the
    model's own; `decode`: as the autoencoder of its latents does, whose weights are of chance; `weights` None are those
    that the model's name means, if any and not `random_weights`; `methods` texts that methods.parse takes; `budget` in
    seconds."""

    model: str
    resolution: Resolution | None = None
    batch: int | str = 1
    mode: str = "inference"
    device: str = "cpu"
    dtype: str = "fp32"
    compile: bool = False
    cuda_graph: bool = False
    kernel: str | None = None
    threads: int | None = None
    steps: int | None = None
    cfg: bool = False
    decode: bool = False
    weights: str | None = None
    sampler: str | None = None
    inputs: tuple[str, ...] = ()
    process: str | None = None
    methods: tuple[str, ...] = ()
    frames: int | None = None
    random_weights: bool = False
    budget: float = 60.0

    def __post_init__(self) -> None:
        for name in ("inputs", "methods"):  # JSON makes them lists
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def key(self) -> dict[str, Any]:
        """What makes it the row it is; how long one looks does not."""
        added = {"process": self.process, "methods": list(self.methods)}  # later than the first records
        key = {name: value for name, value in asdict(self).items() if name != "budget" and name not in added}
        return {**key, "inputs": list(self.inputs), **{name: value for name, value in added.items() if value}}

    @property
    def identity(self) -> dict[str, Any]:
        """Its key and, of a network of the user's own, the code that it consists of: edited, it is another row."""
        code = presets.code_of(self.model)
        return {**self.key, "code": code[:16]} if code else self.key

    @property
    def title(self) -> str:
        """In few words, for progress and messages."""
        words = [self.model, *([f"{self.resolution} px"] if self.resolution else []), f"batch {self.batch}", self.dtype]
        words += [word for word, on in (("compile", self.compile), ("graph", self.cuda_graph)) if on]
        words += [] if self.mode == "inference" else [self.mode]
        words += self.methods
        return " ".join(words)


def rows(models: Sequence[str], axes: Mapping[str, Sequence[Any]], **fixed: Any) -> list[Row]:
    """One row for each model and combination of the axes, each once; a resolution of None is the model's own."""
    found = []
    for model in models:
        preset = presets.of(model)
        told: dict[str, Any] = {
            name: presets.meant_for(model, fixed[name], models) for name in ("inputs", "process") if name in fixed
        }
        for values in product(*axes.values()):
            settings = {**fixed, **told, **dict(zip(axes, values, strict=True))}
            settings["resolution"] = _size(settings.get("resolution"), preset)
            found.append(Row(model=model, **settings))
    return list(dict.fromkeys(found))


def _size(asked: Resolution | None, preset: Preset | None) -> Resolution | None:
    """The same for "256x256" and 256 of a preset whose own shape is a square."""
    if preset is None or "width" in preset.conditions:
        return asked or (preset.resolution if preset else None)
    height, width = sides(asked or preset.resolution)
    return height if height == width else asked


def check(row: Row) -> None:
    """Raise UsageError where the settings contradict each other or this CPU."""
    on_gpu = row.device.startswith("cuda")
    if row.batch != BEST and (not isinstance(row.batch, int) or row.batch < 1):
        raise UsageError(f"batch {row.batch} is no number of images; give 1 or more, or best")
    if row.weights and row.random_weights:
        raise UsageError(f"--weights {row.weights} and --random-weights contradict each other; leave one out")
    if not 0 < row.budget < math.inf:
        raise UsageError(f"a budget of {row.budget:g} seconds is no time to measure in; give more than 0")
    if row.threads is not None and row.threads < 1:
        raise UsageError(f"{row.threads} threads cannot compute; give --threads 1 or more")
    if row.cuda_graph and not on_gpu:
        raise UsageError(f"--cuda-graph needs a GPU, and the device is {row.device}; give --device cuda or no graph")
    if row.cuda_graph and row.mode != "inference":
        raise UsageError(f"--cuda-graph replays one network call, not a run of mode {row.mode}; leave one of them out")
    if row.dtype == "tf32" and not on_gpu:
        raise UsageError(f"tf32 is a mode of NVIDIA GPUs, and the device is {row.device}; give --dtype fp32 or bf16")
    if row.dtype == "fp16" and not on_gpu and not hardware.has_float16():
        raise UsageError("this CPU does not compute in float16 (avx512_fp16, asimdhp); give --dtype fp32 or bf16")
    if row.dtype == "fp16" and row.mode == "train":
        raise UsageError("training in fp16 needs loss scaling, which is not here; give --dtype bf16")
    if row.methods and row.mode == "train":
        raise UsageError(
            f"--with {row.methods[0]} acts on sampling runs and not on --mode train; leave one of them out"
        )
    if row.methods and row.mode != "sample":
        raise UsageError(f"--with {row.methods[0]} acts from step to step of a sampling run; give --steps N")
    from dimbench.methods.method import check_uncompiled

    check_uncompiled(row.methods, bool(row.compile), row.cuda_graph)
    if row.mode == "train" and row.steps is not None:
        raise UsageError("--steps is for sampling runs; leave it out with --mode train")
    if row.steps is not None and row.steps < 1:
        raise UsageError(f"{row.steps} steps draw nothing; give --steps 1 or more")
    if row.steps is None and (row.cfg or row.decode or row.sampler):
        given = "--cfg" if row.cfg else "--decode" if row.decode else f"--sampler {row.sampler}"
        raise UsageError(f"{given} was given without --steps; give the steps of a sampling run with --steps N")


def whole_numbers(option: str, text: str, most: int, words: Sequence[str] = ()) -> list[Any]:
    """ "1,8,best" -> [1, 8, "best"], each once."""
    found: list[Any] = []
    for part in (part.strip() for part in text.split(",")):
        if part not in words and not (part.isdecimal() and len(part) < 10 and 1 <= int(part) <= most):
            raise UsageError(
                f"{option} {text!r} is not understood at {part!r}; give whole numbers from 1 to {most} such as 1,8"
                + "".join(f", or {word}" for word in words)
            )
        found.append(part if part in words else int(part))
    return list(dict.fromkeys(found))
