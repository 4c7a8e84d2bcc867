"""A network of diffusers as a Backbone: a preset, a class, a folder that diffusers wrote, or one in the hub's cache."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dimbench import diffusers_networks as networks
from dimbench import hub, presets
from dimbench.backbone import Classes, LabelOf, with_settings
from dimbench.diffusers_networks import Kind, Size, packing
from dimbench.diffusers_networks.loading import quietly
from dimbench.diffusion.flow import on_line
from dimbench.foreign import CLASS, Source
from dimbench.image_size import Resolution, sides
from dimbench.layers.inputs import Given
from dimbench.presets import Preset


@dataclass(frozen=True)
class FromDiffusers:
    """A class of diffusers with the settings of `config`, beyond which the user gave `settings`."""

    place: str
    class_name: str
    config: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    resolution: Resolution | None = None
    preset: Preset | None = None
    process: Mapping[str, Any] = field(default_factory=dict)
    labels: LabelOf | None = None
    frames: int | None = None

    @property
    def name(self) -> str:
        return with_settings(self.preset.name if self.preset else self.place, self.settings)

    @property
    def text(self) -> str:
        return self.name

    @property
    def weights(self) -> Path | None:
        return None if self.preset or self.place.startswith(CLASS) else _folder(self.place)

    @cached_property
    def kind(self) -> Kind:
        return networks.find(self.class_name)

    @cached_property
    def all_settings(self) -> dict[str, Any]:
        """Those of the class, the published ones and the user's."""
        published = networks.settings(self.class_name, self.config)
        with quietly():
            own = Source(f"{CLASS}{self.class_name}").settings(self.settings)
        return networks.settings(self.class_name, {**published, **own})

    @cached_property
    def size(self) -> Size:
        """At the size asked for, else at its own; what a preset of the class says of text, length and autoencoder holds
        for others of the class too."""
        usual = self.preset or next((p for p in _presets() if p.backbone == CLASS + self.class_name), None)
        side = self.all_settings.get("sample_size")
        if usual is None:  # pixels
            side = self.resolution or side or presets.all_presets()["dit-s2"].resolution
            return Size(sides(side) if isinstance(side, (int, str)) else tuple(side), stride=1)
        own = side * usual.latent_stride if isinstance(side, int) and not self.preset else None
        return networks.size_of(usual, self.resolution or own, self.frames)

    @cached_property
    def conditions(self) -> dict[str, Any]:
        about = dict(self.preset.conditions) if self.preset else {}
        height, width = self.size.resolution
        about |= {"resolution": height, "width": width}
        if width == height:
            del about["width"]
        if len(self.state) == 4:
            about["frames"] = self.size.frames
        return about | ({"text_tokens": self.size.text_tokens} if self.size.text_tokens else {})

    @cached_property
    def state(self) -> tuple[int, ...]:
        return self.kind.state(self.all_settings, self.size)

    @property
    def stride(self) -> int:
        return self.size.stride

    @cached_property
    def classes(self) -> Classes | None:
        label = self.kind.told(self.all_settings, self.size).get("class_labels")
        return Classes(label.classes, label.null) if isinstance(label, networks.Label) else None

    @property
    def diffusion(self) -> Mapping[str, Any]:
        table = self.process or (self.preset.diffusion if self.preset else {})
        return table if self.process or "shift_by_tokens" not in table else {**table, **self._shift(**table)}

    def _shift(self, shift_by_tokens: Sequence[float], **more: Any) -> dict[str, Any]:
        """How times are shifted at this size. `shift_by_tokens` is the line of the shift's logarithm over tokens; where
        `at_few_steps` = [steps, line] is given, that line holds for so few steps, the other for `many_steps`, and up to
        `most_tokens` there is a line over the steps between them."""
        tokens = prod(self.state[1:]) // more.get("latents_per_token", packing.PATCH**2)
        usual = on_line(tokens, *shift_by_tokens)
        if tokens > more.get("most_tokens", 0):
            return {"shift": math.exp(-usual)}
        few, line = more["at_few_steps"]
        return {"shift_by_steps": [few, on_line(tokens, *line), more["many_steps"], usual]}

    def build(self) -> nn.Module:
        return networks.build(self.class_name, self.all_settings)

    def running(self, model: nn.Module) -> nn.Module:
        return model

    def given(self, rows: Sequence[int], device: str = "cpu", null: bool = False) -> Given:
        told = dict(self.kind.given(self.all_settings, self.size, rows, device, null))
        if self.labels and not null:
            told["class_labels"] = torch.tensor([self.labels(row) for row in rows], device=device)
        return told

    def call(self, model: nn.Module, x: Tensor, t: Tensor, given: Given) -> Tensor:
        return self.kind.call(model, x, t, given)

    def labelled(self, labels: LabelOf) -> FromDiffusers:
        return dataclasses.replace(self, labels=labels)

    def fitted(self, options: Mapping[str, Any]) -> FromDiffusers:
        return dataclasses.replace(self, settings={**self.settings, **options})


def find(
    head: str, settings: Mapping[str, Any], resolution: Resolution | None, process: Mapping[str, Any]
) -> FromDiffusers:
    """The network that `head` names, for which `is_of_diffusers` holds."""
    if head.startswith(CLASS):
        name: str = head.removeprefix(CLASS)
        config: Mapping[str, Any] = {}
    else:
        name, config = networks.read_config(hub.place_of(Path(head)))
    return FromDiffusers(head, name, config, settings, resolution, process=process)


def of_preset(
    preset: Preset, settings: Mapping[str, Any], resolution: Resolution | None, process: Mapping[str, Any]
) -> FromDiffusers:
    """The preset's network."""
    name = preset.backbone.removeprefix(CLASS)
    return FromDiffusers(preset.name, name, preset.config, settings, resolution, preset, process)


def _folder(place: str) -> Path:
    """Where the weights lie of what `find` takes: a name of the hub and a folder as they are."""
    return Path(place).parent if place.endswith(".json") else Path(place)


def _presets() -> list[Preset]:
    return list(presets.all_presets().values())
