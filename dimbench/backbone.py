"""What a name means: `find` turns a preset, a network of the user's own or one of diffusers into a Backbone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any, Protocol, get_type_hints, runtime_checkable

import torch
from torch import Tensor, nn

from dimbench import arguments, image_size, names, presets
from dimbench.errors import UsageError
from dimbench.image_size import Resolution
from dimbench.layers.inputs import Given
from dimbench.presets import Preset

AS_TRAINED, MERGED = "as trained", "merged"

LabelOf = Callable[[int], int]
"""From a sample's index to its class."""


@dataclass(frozen=True)
class Classes:
    """What a class-conditional network knows: classes 0 to `count` - 1, and the label `null` that means none of them
    (None: there is no such label). `trained_without`: it only ever saw `null`."""

    count: int
    null: int | None
    trained_without: bool = False


@runtime_checkable
class Backbone(Protocol):
    """What can be counted, timed and, where it has a state, drawn. `conditions` decide its figures besides its name.

    `text` is what `find` takes for it, in another process too; `state` the shape of one sample: (C, H, W),
    (C, T, H, W), (steps, actions), or () for a network that is no diffusion network, and `stride` the pixels of an
    image per side of it; `classes` None where no class is asked for; `diffusion` the process it was trained on, as
    diffusion.process reads it, {} where nobody said; `preset` what is known of it besides, None for most networks of
    the user's own; `weights` the folder or hf:owner/name that its name means, None where it means no weights.
    """

    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def conditions(self) -> Mapping[str, Any]: ...
    @property
    def state(self) -> tuple[int, ...]: ...
    @property
    def stride(self) -> int: ...
    @property
    def classes(self) -> Classes | None: ...
    @property
    def diffusion(self) -> Mapping[str, Any]: ...
    @property
    def preset(self) -> Preset | None: ...
    @property
    def weights(self) -> Path | None: ...

    def build(self) -> nn.Module:
        """The network as it is trained, in eval mode, on torch's current default device."""

    def running(self, model: nn.Module) -> nn.Module:
        """`model` as it runs at inference, itself where that is no other. Checkpoints hold the trained form."""

    def given(self, rows: Sequence[int], device: str = "cpu", null: bool = False) -> Given:
        """What the network is told of the samples `rows` besides x and t, a row for each; with `null` nothing. Raises
        UsageError where it knows no such form."""

    def call(self, model: nn.Module, x: Tensor, t: Tensor, given: Given) -> Tensor:
        """The output for x (N, *state) at the times t (N,)."""

    def labelled(self, labels: LabelOf) -> Backbone:
        """The same with these classes of its samples."""

    def fitted(self, options: Mapping[str, Any]) -> Backbone:
        """The same as a checkpoint needs it that was made with these settings."""


@dataclass(frozen=True)
class Registered:
    """A variant of a family in models/. `settings` are fields of the family's Config beyond the preset's own, `options`
    those that a checkpoint needs."""

    preset: Preset
    resolution: Resolution
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    labels: LabelOf | None = None

    @property
    def name(self) -> str:
        return with_settings(self.preset.name, self.settings)

    @property
    def text(self) -> str:
        return self.name

    @property
    def conditions(self) -> dict[str, Any]:
        height, width = image_size.sides(self.resolution)
        return {"resolution": height} | ({"width": width} if width != height else {}) | dict(self.preset.conditions)

    @property
    def state(self) -> tuple[int, ...]:
        return self.config.state

    @property
    def stride(self) -> int:
        return self.preset.latent_stride

    @property
    def weights(self) -> None:
        return None

    @property
    def diffusion(self) -> Mapping[str, Any]:
        """The preset's table, as it is at this size where the network draws larger images than it was made for."""
        table, factor = self.preset.diffusion, getattr(self.config, "upsample_factor", 1)
        return table if factor == 1 else {**table, **table["upsampled"], "upsampling": factor}

    @property
    def classes(self) -> Classes | None:
        config = self.config
        if not getattr(config, "num_classes", 0):
            return None
        return Classes(config.num_classes, config.null_label, config.label_dropout >= 1)

    @cached_property
    def family(self) -> Any:
        return import_module(f"dimbench.models.{self.preset.backbone}")

    @cached_property
    def config(self) -> Any:
        """The family's Config. UsageError for an unknown setting, or a size that does not fit."""
        preset = self.preset
        own = {**preset.config, **self.options, **self.settings}
        settings = arguments.typed(own, self.family.Config, preset.name)
        if any(side < 1 or side % preset.latent_stride for side in image_size.sides(self.resolution)):
            raise UsageError(
                f"resolution {self.resolution} does not fit {preset.name}, whose latents have one side per "
                f"{preset.latent_stride} pixels; give a positive multiple of {preset.latent_stride}"
            )
        height, width = (side // preset.latent_stride for side in image_size.sides(self.resolution))
        if height != width and get_type_hints(self.family.Config)["input_size"] is int:
            raise UsageError(
                f"resolution {self.resolution} does not fit {preset.name}, whose family draws squares alone; give one "
                "side, such as 256"
            )
        size = height if height == width else (height, width)
        try:
            return self.family.Config(**{"input_size": size, **settings})
        except UsageError as error:
            raise UsageError(f"{preset.name} at resolution {self.resolution}: {error}") from None

    def build(self) -> nn.Module:
        return self.family.build(self.config).eval()

    def running(self, model: nn.Module) -> nn.Module:
        fuse = getattr(self.family, "fuse", None)
        return model if fuse is None else fuse(model)

    def given(self, rows: Sequence[int], device: str = "cpu", null: bool = False) -> Given:
        if null and self.classes and self.classes.null is None:
            raise UsageError(f"{self.name} has no label for 'no class' and cannot be guided; leave out --cfg")
        if self.classes:
            return self.family.given(self.config, rows, device, null, self.labels)
        return self.family.given(self.config, rows, device, null)

    def call(self, model: nn.Module, x: Tensor, t: Tensor, given: Given) -> Tensor:
        return model(x, t, **given)

    def labelled(self, labels: LabelOf) -> Registered:
        return dataclasses.replace(self, labels=labels)

    def fitted(self, options: Mapping[str, Any]) -> Registered:
        return dataclasses.replace(self, options=options)


def with_settings(name: str, settings: Mapping[str, Any]) -> str:
    """ "dit-s2,depth=6": a name with what sets a variant apart."""
    return ",".join([name, *(f"{key}={value}" for key, value in settings.items())])


def form_of(model: nn.Module, running: nn.Module) -> str:
    """What `running` made of `model`: "merged", or "as trained" where it is the same network."""
    return AS_TRAINED if running is model else MERGED


def denoised(backbone: Backbone) -> tuple[int, ...]:
    """The shape of what a sampler denoises: a sample's state, or its numbers in a row where others stand behind it that
    are denoised with it and then left, as many as the family's Config says in `beside`."""
    beside = getattr(getattr(backbone, "config", None), "beside", 0)
    return (prod(backbone.state) + beside,) if beside else backbone.state


def example(backbone: Backbone, batch: int, device: str = "cpu") -> tuple[Tensor, Tensor, Given]:
    """Arguments of one call: x standard normal and t 0.5, where nobody gave a network of their own others, and what it
    is given."""
    x, t = torch.randn(batch, *denoised(backbone), device=device), torch.full((batch,), 0.5, device=device)
    if of_users := getattr(backbone, "example", None):
        x, t = of_users(range(batch), x, t)
    return x, t, backbone.given(range(batch), device)


def find(
    what: str | nn.Module | Backbone,
    resolution: Resolution | None = None,
    settings: Mapping[str, Any] | None = None,
    inputs: Sequence[str] | Any = (),
    process: str | None = None,
    frames: int | None = None,
) -> Backbone:
    """The backbone that `what` means, at `resolution` pixels per side, or as "160x320" of height and width, and for
    clips of `frames` (None: its own).

    `what` is a preset's name; `file.py:NAME` or `package.module:NAME` of a class or factory; a folder or config.json
    that diffusers wrote, `diffusers:CLASS` or `hf:OWNER/NAME`; a module; or a Backbone. A name may set arguments:
    `dit-s2,depth=6`. `inputs` are texts such as "x=3x224x224", or tensors, for a network that nobody here knows, and
    `process` is what that was trained on (preset_files.PROCESSES, set as names are). Raises UsageError where nothing
    is called so, and for frames that it cannot draw.
    """
    found = _found(what, resolution, settings, inputs, process)
    return found if frames is None else _of_length(found, frames)


def _of_length(found: Backbone, frames: int) -> Backbone:
    from dimbench.from_diffusers import FromDiffusers

    drawn = dataclasses.replace(found, frames=frames) if isinstance(found, FromDiffusers) else found
    if drawn is found or len(drawn.state) != 4:
        raise UsageError(f"--frames {frames} has no meaning for {found.name}, which draws no clips; leave it out")
    return drawn


def _found(
    what: str | nn.Module | Backbone,
    resolution: Resolution | None,
    settings: Mapping[str, Any] | None,
    inputs: Sequence[str] | Any,
    process: str | None,
) -> Backbone:
    if isinstance(what, Backbone):
        return what
    from dimbench import own
    from dimbench.arguments import Input, by_name, parse_inputs

    if isinstance(what, nn.Module):
        maker = own.InHand(what)
        shapes = parse_inputs(inputs) if _is_texts(inputs) else by_name(what, inputs)
        known = {name: each if isinstance(each, Input) else Input.of(each) for name, each in shapes.items()}
        _check_rows({name: len(each.kept) for name, each in known.items() if each.kept is not None})
        return own.Own(maker, {}, known, resolution, process=_process(process))
    if not isinstance(what, str):
        raise UsageError(f"{what!r} is no network; give a module, such as MyNet(), or a name, or a Backbone")
    head, told = presets.split(what)
    settings = {**told, **(settings or {})}
    if not presets.is_foreign(what):
        return _of_preset(presets.find(head), resolution, settings, inputs, process)
    from dimbench.foreign import Source, is_of_diffusers

    if is_of_diffusers(head) and not inputs:
        from dimbench import from_diffusers

        return from_diffusers.find(head, settings, resolution, _process(process))
    source = Source(head)
    return own.Own(source, source.settings(settings), parse_inputs(inputs), resolution, process=_process(process))


def _process(name: str | None) -> Mapping[str, Any]:
    if name is None:
        return {}
    from dimbench.diffusion.process import find_process
    from dimbench.preset_files import PROCESSES, completed

    head, told = presets.split(name)
    usual = names.find(head, {each: completed({"process": each}) for each in PROCESSES}, "process")
    return {**usual, **arguments.typed(told, type(find_process(usual)), f"--process {head}")}


def _check_rows(counts: Mapping[str, int]) -> None:
    first = next(iter(counts.values()), 1)
    if any(count not in (1, first) for count in counts.values()):
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UsageError(f"the inputs are of different numbers of samples ({said}); give each as many rows, or one")


def _is_texts(inputs: Any) -> bool:
    return isinstance(inputs, str) or (
        isinstance(inputs, (tuple, list)) and all(isinstance(each, str) for each in inputs)
    )


def _of_preset(
    preset: Preset,
    resolution: Resolution | None,
    settings: Mapping[str, Any],
    inputs: Sequence[str],
    process: str | None,
) -> Backbone:
    if process and preset.diffusion:
        raise UsageError(
            f"--process {process} has no meaning for {preset.name}, whose preset says what it was trained on; leave it "
            "out"
        )
    resolution = preset.resolution if resolution is None else resolution
    if preset.is_native:
        if inputs:
            raise UsageError(
                f"--input {inputs[0]} has no meaning for {preset.name}, whose inputs are known; leave it out"
            )
        return Registered(preset, resolution, settings)
    from dimbench import own
    from dimbench.arguments import parse_inputs
    from dimbench.foreign import Source, is_of_diffusers

    inputs = inputs or preset.inputs
    if is_of_diffusers(preset.backbone) and not inputs:
        from dimbench import from_diffusers

        return from_diffusers.of_preset(preset, settings, resolution, _process(process))
    source = Source(preset.backbone)
    return own.Own(source, source.settings(settings), parse_inputs(inputs), resolution, preset, _process(process))


def list_models(pattern: str = "*") -> list[str]:
    """The names of all registered models that match the wildcard `pattern`."""
    return [preset.name for preset in presets.match([pattern])]


def created(backbone: Backbone, seed: int = 0) -> nn.Module:
    """The network in eval mode with its own initialisation drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return backbone.build()


def create_model(name: str, *, resolution: Resolution | None = None, seed: int = 0, **overrides: Any) -> nn.Module:
    """The network `name` in eval mode with the official initialisation drawn from `seed`; forward(x, t, y).

    `resolution` is as `find` takes it (None: the preset's own, 256 for most published models); `overrides` are fields
    of the family's Config. Raises UsageError for an unknown name, setting or size.
    """
    return created(find(name, resolution, overrides), seed)
