"""One training loop for every family: its loss, AdamW, an average of the weights, and resuming to the bit."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from dimbench.diffusion.process import Process, mean_loss
from dimbench.errors import DimbenchError, UsageError, plain, reason
from dimbench.files import replacing
from dimbench.kernels import backends
from dimbench.weights.checkpoints import check_kinds, mismatches, shapes
from dimbench.weights.unpickling import read_pickle

_FIELDS: Mapping[str, type] = {
    "step": int,
    "recipe": dict,
    "kernels": dict,
    "model": Mapping,
    "ema": Mapping,
    "opt": Mapping,
}
_GO_ON = "give the --kernel of those steps, or another --to to start over"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of each parameter

OnStep = Callable[[int, float], None]


@dataclass(frozen=True)
class TrainingRecipe:
    """AdamW at `lr`, warmed up over `warmup` steps and then lowered to zero along a cosine; `ema` is the share of the
    average that stays at each step, at most (1 + step) / (10 + step)."""

    steps: int = 4000
    batch: int = 128
    lr: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.0
    ema: float = 0.999
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise UsageError(f"steps {self.steps} and batch {self.batch} must be at least 1; give positive numbers")
        if not self.lr > 0 or not 0 <= self.ema < 1:
            raise UsageError(
                f"lr {self.lr:g} must be above 0 and ema {self.ema:g} from 0 to below 1; give such numbers"
            )

    def lr_at(self, step: int) -> float:
        """The learning rate of step 0, 1, ..."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * done))


class DivergedError(DimbenchError):
    """The loss or what it would do to the weights is not finite; the step was not taken."""


class Training:
    """The state of a run: network, average, optimiser and steps done.

    All randomness of step k comes from generators seeded by (seed, k), so that a resumed run repeats nothing and
    misses nothing.
    """

    def __init__(self, model: nn.Module, process: Process, recipe: TrainingRecipe) -> None:
        self.model = model.train()
        self.process = process
        self.recipe = recipe
        self.average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
        self.step = 0
        self.kernels: dict[str, str] = {}
        """The backend of each operator in the steps done."""

    def advance(self, images: Tensor, labels: Tensor) -> float:
        """Take one step on a batch drawn from the data (N, C, h, w) with labels (N,); return its loss.

        DivergedError, and nothing is changed, where that or a gradient is not finite; UsageError where other kernels
        would run than before, which round otherwise.
        """
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
        torch.manual_seed(
            int(torch.randint(2**62, (), generator=generator))
        )  # label dropout and drop path draw from it
        chosen = torch.randint(len(images), (self.recipe.batch,), generator=generator)
        y = labels[chosen]
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.lr_at(self.step)
        with backends.watch() as kernels:
            loss = mean_loss(
                self.process, self.model, lambda x, t, **form: self.model(x, t, y, **form), images[chosen], generator
            )
        if self.kernels not in ({}, kernels):
            before, now = (", ".join(map("=".join, used.items())) or "none" for used in (self.kernels, kernels))
            raise UsageError(f"the steps done so far ran on {before}, the next would on {now}; {_GO_ON}")
        self.kernels = kernels
        value = loss.item()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        if not (math.isfinite(value) and all(_finite(gradient) for gradient in gradients)):
            what = f"the loss is {value}" if not math.isfinite(value) else "a gradient is not finite"
            raise DivergedError(f"{what} at step {self.step + 1}: the training has diverged")
        self.optimiser.step()
        self.step += 1
        self._average()
        return value

    @torch.no_grad()
    def _average(self) -> None:
        # a short run forgets its random start: the share grows to `ema` over the first steps
        share = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - share)

    def save(self, path: Path) -> None:
        """Write everything a later process needs to go on, under a temporary name first. DivergedError, and what was
        there stays, where the weights are not finite."""
        if not all(_finite(tensor) for tensor in self.model.state_dict().values()):
            raise DivergedError(f"the weights are not finite after step {self.step}: the training has diverged")
        state = {
            "step": self.step,
            "recipe": asdict(self.recipe),
            "kernels": self.kernels,
            "model": self.model.state_dict(),
            "ema": self.average,
            "opt": self.optimiser.state_dict(),
        }
        _write(path, _saved(state))

    @staticmethod
    def mark_diverged(path: Path) -> None:
        """Note in a checkpoint that the run went astray after it."""
        state = {**read_pickle(path), "diverged": True}
        _write(path, _saved(state))

    def resume(self, path: Path) -> bool:
        """Take up the state of `path`; False where it is of a run that diverged at a higher rate, which begins anew.
        DimbenchError if it belongs to another run or is damaged."""
        try:
            state = read_pickle(path)
            changed = self._check(state)
            astray = state.get("diverged") is True and changed == ["lr"] and self.recipe.lr < state["recipe"]["lr"]
            if not changed:
                self.model.load_state_dict(state["model"])
                groups = self.optimiser.state_dict()["param_groups"]  # all in them follows from the recipe
                self.optimiser.load_state_dict({"state": state["opt"]["state"], "param_groups": groups})
        except Exception as error:  # a value of another type anywhere: each raises its own kind
            said = plain(error).removeprefix(f"{path} ").split(";")[0]
            raise DimbenchError(
                f"{path} is not a checkpoint this run can go on from ({said}); delete it to start over"
            ) from None
        if astray:
            return False
        if changed:
            raise DimbenchError(
                f"{path} was made with another {' and '.join(changed)}; give the same, another --to, or delete it to "
                "start over"
            )
        self.average = {name: state["ema"][name] for name in self.average}
        self.step, self.kernels = state["step"], state["kernels"]
        return True

    def _check(self, state: Mapping[Any, Any]) -> list[str]:
        """The settings of the recipe in which a saved state is of another run. ValueError where it is none."""
        for name, kind in _FIELDS.items():
            if not isinstance(state.get(name), kind) or isinstance(state[name], bool):
                raise ValueError(f"its {name!r} is a {type(state.get(name)).__name__}, not a {kind.__name__}")
        if not all(isinstance(text, str) for pair in state["kernels"].items() for text in pair):
            raise ValueError("its kernels are no names")
        own = asdict(self.recipe)
        if changed := [name for name, value in own.items() if state["recipe"].get(name) != value]:
            return changed
        if not 0 <= state["step"] <= self.recipe.steps:
            raise ValueError(f"its step {state['step']} is none of {self.recipe.steps}")
        for name in ("model", "ema"):
            _check_tensors(name, state[name], self.model.state_dict())
        self._check_moments(state["opt"]["state"], state["step"])
        return []

    def _check_moments(self, moments: Mapping[Any, Any], step: int) -> None:
        parameters = dict(enumerate(self.optimiser.param_groups[0]["params"]))
        if bool(moments) != bool(step) or not moments.keys() <= parameters.keys():
            raise ValueError(f"its optimiser's state is not one after {step} steps")
        for index, kept in moments.items():
            like = dict(zip(_MOMENTS, (torch.tensor(0.0), parameters[index], parameters[index]), strict=True))
            _check_tensors(f"optimiser's state of parameter {index}", kept, like)
            if not 0 < kept["step"] <= step or kept["exp_avg_sq"].min() < 0:
                raise ValueError(f"its optimiser's state of parameter {index} is not one after {step} steps")

    def export(self, path: Path, about: Mapping[str, Any], half: bool = False) -> None:
        """Write the averaged weights as safetensors with `about` as metadata, under a temporary name first; with `half`
        in float16."""
        metadata = {"training": json.dumps({**about, **asdict(self.recipe)})}  # one entry: several have no fixed order
        dead = {name for name, module in self.model.named_modules() if getattr(module, "dead_macs", 0)}
        weights = {
            # what no output depends on only has to be there
            name: (tensor.half() if half or name.rpartition(".")[0] in dead else tensor).contiguous()
            for name, tensor in self.average.items()
        }
        _write(path, save(weights, metadata))


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _check_tensors(what: str, given: Mapping[str, Any], expected: Mapping[str, Tensor]) -> None:
    """ValueError where `given` does not hold finite numbers in the shapes and types `expected`."""
    tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    if faults := mismatches(shapes(expected), shapes(tensors)):
        raise ValueError(f"its {what}: {faults}")
    check_kinds(tensors, f"its {what}", expected)
    if odd := next((name for name, tensor in tensors.items() if tensor.dtype != expected[name].dtype), None):
        raise ValueError(f"its {what}: {odd} is of {tensors[odd].dtype}, not {expected[odd].dtype}")
    if odd := next((name for name, tensor in tensors.items() if not _finite(tensor)), None):
        raise ValueError(f"its {what}: {odd} is not finite")


def _saved(state: Mapping[str, Any]) -> bytes:
    """What torch.save writes; into a file it would name no reason where the disk is full."""
    held = io.BytesIO()
    torch.save(state, held)
    return held.getvalue()


def _write(path: Path, content: bytes) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise DimbenchError(f"cannot write {path} ({reason(error)}); make room there or give another --to") from None
