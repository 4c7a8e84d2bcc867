"""A network of the user's own as a Backbone: from a file, from a package, or a module in hand."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import _disable_current_modes

from dimbench.arguments import Arguments, Input, arguments, by_name, tensor_of
from dimbench.backbone import Classes, LabelOf, with_settings
from dimbench.errors import DimbenchError, UsageError
from dimbench.foreign import refused, skeleton_of
from dimbench.image_size import Resolution, sides
from dimbench.layers.inputs import Given
from dimbench.meta import shapes_only
from dimbench.presets import Preset

_OF_ONE_TYPE = (nn.Linear, nn.modules.conv._ConvNd, nn.LayerNorm, nn.GroupNorm)  # in and out, as their weights
RESOLUTION, STRIDE, CHANNELS, CLASSES = 256, 8, 4, 1000  # where neither the network nor the user says anything
_SIZES = ("input_size", "sample_size", "image_size", "img_size")


class Maker(Protocol):
    """Where a network comes from, such as foreign.Source; `inputs(batch, resolution, device)`, if any, gives what it is
    called with."""

    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def inputs(self) -> Callable[..., Any] | None: ...

    def build(self, settings: Mapping[str, Any]) -> nn.Module: ...


class InHand:
    """A module that is there already, with its own weights; `settings` do not change it, and neither does what is done
    here, which is done to copies."""

    inputs = None

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.name = type(module).__name__
        self.text = f"{self.name} at {id(module):#x}"

    def build(self, settings: Mapping[str, Any]) -> nn.Module:
        if any(map(is_lazy, self.module.parameters())):
            raise UsageError(f"{self.name} has layers that are made at their first call; call it once before")
        return (skeleton_of(self.module) if _on_meta() else copy.deepcopy(self.module)).eval()


@dataclass(frozen=True)
class Own:
    """A network that is called as its forward's signature, `inputs` or its file say."""

    maker: Maker
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Input] = field(default_factory=dict)
    resolution: Resolution | None = None
    preset: Preset | None = None
    process: Mapping[str, Any] = field(default_factory=dict)
    labels: LabelOf | None = None

    @property
    def name(self) -> str:
        return with_settings(self.preset.name if self.preset else self.maker.name, self.settings)

    @property
    def text(self) -> str:
        return with_settings(self.preset.name if self.preset else self.maker.text, self.settings)

    @cached_property
    def conditions(self) -> dict[str, Any]:
        about = dict(self.preset.conditions) if self.preset else {}
        if self.inputs:
            about["inputs"] = " ".join(f"{name}={each}" for name, each in self.inputs.items())
        if self.state and self.arguments.x not in self.inputs:
            about["resolution"] = self.state[-1] * self.stride
        return about

    @property
    def all_settings(self) -> dict[str, Any]:
        """The preset's and the user's."""
        return {**(self.preset.config if self.preset else {}), **self.settings}

    @cached_property
    def shape(self) -> nn.Module:
        """The network without weights, to look at."""
        with shapes_only():
            return self.build()

    @cached_property
    def arguments(self) -> Arguments:
        return arguments(self.shape, self.name, self._known)

    @cached_property
    def _known(self) -> Mapping[str, Input]:
        """The arguments that somebody gave a shape for: the user, else the file beside the network."""
        if self.inputs or self.maker.inputs is None:
            return self.inputs
        return {name: Input.of(value) for name, value in self._beside(1, "meta").items()}

    @property
    def _pixels(self) -> int:
        height, width = sides(self.resolution or RESOLUTION)
        if height != width:
            raise UsageError(
                f"--resolution {self.resolution} of {self.name}, which is asked for squares alone; give one side, or "
                "one sample's shape such as --input x=4x20x40"
            )
        return height

    def _beside(self, batch: int, device: str) -> dict[str, Tensor]:
        assert self.maker.inputs is not None
        with refused(f"inputs() beside {self.name} fails"):
            made = self.maker.inputs(batch, self._pixels, device)
        return by_name(self.shape, made)

    @cached_property
    def state(self) -> tuple[int, ...]:
        name = self.arguments.x
        if not name:
            return ()
        if name in self._known:
            return self._known[name].shape
        channels = int(_said(self.shape, ("in_channels",)) or CHANNELS)
        size = _said(self.shape, _SIZES)
        if self.resolution is not None or size is None:
            size = self._pixels // self._stride_of(channels)
        return (channels, *(size if isinstance(size, (tuple, list)) else (int(size),) * 2))

    @property
    def stride(self) -> int:
        return self._stride_of(self.state[0]) if self.state else 1

    def _stride_of(self, channels: int) -> int:
        if self.preset:
            return self.preset.latent_stride
        return 1 if channels in (1, 3) or self.arguments.x in self._known else STRIDE

    @cached_property
    def classes(self) -> Classes | None:
        if not self.arguments.y:
            return None
        count = int(_said(self.shape, ("num_classes",)) or CLASSES)
        null = self.diffusion.get("null_label", getattr(self.shape, "null_label", None))
        return Classes(count, null)

    @property
    def weights(self) -> None:
        return None

    @property
    def in_hand(self) -> bool:
        """Whether it has its weights already."""
        return isinstance(self.maker, InHand)

    @property
    def diffusion(self) -> Mapping[str, Any]:
        return self.process or (self.preset.diffusion if self.preset else {})

    def build(self) -> nn.Module:
        if not _on_meta():
            return self.maker.build(self.all_settings)
        try:
            return self.maker.build(self.all_settings)
        except DimbenchError:  # it reads values while it is made, or it fails anywhere
            with _disable_current_modes(), torch.device("cpu"):
                return skeleton_of(self.maker.build(self.all_settings))

    def running(self, model: nn.Module) -> nn.Module:
        for layer in model.modules():
            if isinstance(layer, _OF_ONE_TYPE):
                _ease(layer)
        return model

    def given(self, rows: Sequence[int], device: str = "cpu", null: bool = False) -> Given:
        if null and (self.classes is None or self.classes.null is None):
            raise UsageError(
                f"nothing says how {self.name} is told 'no class', so it cannot be guided; give null_label in its "
                "preset's [diffusion], or leave out --cfg"
            )
        told = self._told(self.arguments.others, rows, device)
        if known := self.classes:
            label = self.labels or (lambda row: row % known.count)
            y = [known.null if null else label(row) for row in rows]
            told[self.arguments.y] = torch.tensor(y, device=device)
        return told

    def example(self, rows: Sequence[int], x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x and t of one call, as somebody gave them: values, or at least a dtype. Those here where nobody did."""
        told = self._told((self.arguments.x, self.arguments.t), rows, str(x.device))
        time = self._known.get(self.arguments.t)
        return told.get(self.arguments.x, x), t if time is None or time.kept is None else told[self.arguments.t]

    def _told(self, names: Sequence[str], rows: Sequence[int], device: str) -> dict[str, Any]:
        """Those of the arguments `names` that somebody gave a shape for, by `_known`."""
        if self.inputs or self.maker.inputs is None:
            return {name: self.inputs[name].values(rows, device) for name in names if name in self.inputs}
        beside = self._beside(len(rows), device)
        return {name: beside[name] for name in names if name in beside}

    def call(self, model: nn.Module, x: Tensor, t: Tensor, given: Given) -> Tensor:
        told: dict[str, Any] = {}
        if self.arguments.x:
            told[self.arguments.x] = x  # first, where methods look for it
        if self.arguments.t:
            time = self._known.get(self.arguments.t)
            told[self.arguments.t] = t if time is None else time.of_rows(t)
        told = {**told, **given, **told}
        try:
            return tensor_of(model(**told))
        except Exception as error:
            shapes = ", ".join(f"{name} {tuple(v.shape)}" for name, v in told.items() if isinstance(v, Tensor))
            with refused(f"{self.name}.forward refuses {shapes} (--input NAME=SHAPE gives other inputs)"):
                raise error

    def labelled(self, labels: LabelOf) -> Own:
        return dataclasses.replace(self, labels=labels)

    def fitted(self, options: Mapping[str, Any]) -> Own:
        return dataclasses.replace(self, settings={**self.settings, **options})


def _ease(layer: nn.Module) -> None:
    """Let a layer whose weights are of half precision take float32, such as a time; one that gets none at its first
    call is left as it was."""

    def cast(layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        dtype: torch.dtype = layer.weight.dtype  # type: ignore[assignment]
        if given and given[0].dtype == torch.float32 and dtype in (torch.bfloat16, torch.float16):
            return given[0].to(dtype), *given[1:]
        if not torch.compiler.is_compiling():
            handle.remove()
        return None

    handle = layer.register_forward_pre_hook(cast)


def _on_meta() -> bool:
    return torch.get_default_device().type == "meta"


def _said(model: nn.Module, keys: Sequence[str]) -> Any:
    """What a network says of itself, as an attribute or in its `config`."""
    config = getattr(model, "config", None)
    for key in keys:
        for place in (model, config):
            value = place.get(key) if isinstance(place, Mapping) else getattr(place, key, None)
            if isinstance(value, (int, tuple, list)) and not isinstance(value, bool):
                return value
    return None
