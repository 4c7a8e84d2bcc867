"""One training loop for every family: its loss, AdamW, an average of the weights, and resuming to the bit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from dimbench.diffusion.process import Process
from dimbench.errors import DimbenchError, UsageError
from dimbench.files import replacing

OnStep = Callable[[int, float], None]


@dataclass(frozen=True)
class TrainingRecipe:
    """AdamW at `lr`, warmed up over `warmup` steps and then lowered to zero along a cosine; `ema` is the share of the
    average that stays at each step."""

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

    def advance(self, images: Tensor, labels: Tensor) -> float:
        """Take one step on a batch drawn from the data (N, C, h, w) with labels (N,); return its loss."""
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
        torch.manual_seed(
            int(torch.randint(2**62, (), generator=generator))
        )  # label dropout and drop path draw from it
        chosen = torch.randint(len(images), (self.recipe.batch,), generator=generator)
        y = labels[chosen]
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.lr_at(self.step)
        loss = self.process.loss(lambda x, t: self.model(x, t, y), images[chosen], generator).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.step += 1
        self._average()
        value = loss.item()
        if not math.isfinite(value):
            raise DimbenchError(f"the loss is {value} after step {self.step}; start again with a smaller --lr")
        return value

    @torch.no_grad()
    def _average(self) -> None:
        # a short run forgets its random start: the share grows to `ema` over the first steps
        share = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - share)

    def save(self, path: Path) -> None:
        """Write everything a later process needs to go on, under a temporary name first."""
        state = {
            "step": self.step,
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "ema": self.average,
            "opt": self.optimiser.state_dict(),
        }
        _write(path, lambda temporary: torch.save(state, temporary))

    def resume(self, path: Path) -> None:
        """Take up the state of `path`; DimbenchError if it belongs to another run."""
        try:
            state = torch.load(path, weights_only=True)
            recipe, step = state["recipe"], state["step"]
            same = recipe == asdict(self.recipe)
            if same:
                self.model.load_state_dict(state["model"])
                self.optimiser.load_state_dict(state["opt"])
        except Exception as error:  # cut off, of another network, not a checkpoint: each raises its own kind
            raise DimbenchError(
                f"{path} is not a checkpoint this run can go on from ({str(error).splitlines()[0]}); delete it to "
                "start over"
            ) from None
        if not same:
            changed = ", ".join(name for name, value in asdict(self.recipe).items() if recipe.get(name) != value)
            raise DimbenchError(f"{path} was made with another {changed}; give the same, or delete it to start over")
        self.average = state["ema"]
        self.step = step

    def export(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write the averaged weights as safetensors with `about` as metadata, under a temporary name first."""
        metadata = {"training": json.dumps({**about, **asdict(self.recipe)})}  # one entry: several have no fixed order
        dead = {name for name, module in self.model.named_modules() if getattr(module, "dead_macs", 0)}
        weights = {
            # what no output depends on only has to be there
            name: (tensor.half() if name.rpartition(".")[0] in dead else tensor).contiguous()
            for name, tensor in self.average.items()
        }
        _write(path, lambda temporary: save_file(weights, temporary, metadata))


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    try:
        with replacing(path) as temporary:
            write(temporary)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors report a full disk as their own
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise DimbenchError(f"cannot write {path} ({reason}); make room there or give another --out") from None
