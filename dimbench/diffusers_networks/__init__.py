"""Networks of diffusers: what each class is told and how it is called, built from published settings.

Nothing here loads torch or diffusers before a network is asked for.
"""

from __future__ import annotations

from dimbench import names
from dimbench.diffusers_networks import clip_kinds, picture_kinds
from dimbench.diffusers_networks.kind import Config, Given, Kind, Label, Size
from dimbench.diffusers_networks.latent_space import LatentSpace, latent_space, size_of
from dimbench.diffusers_networks.loading import build, read_config, settings
from dimbench.errors import UsageError

__all__ = [
    "KINDS",
    "Config",
    "Given",
    "Kind",
    "Label",
    "LatentSpace",
    "Size",
    "build",
    "find",
    "latent_space",
    "read_config",
    "settings",
    "size_of",
]

KINDS: dict[str, Kind] = {**picture_kinds.KINDS, **clip_kinds.KINDS}


def find(name: str) -> Kind:
    """How the class `name` is called. UsageError where that is not known here."""
    if name not in KINDS:
        otherwise = "if diffusers has it, give its inputs with --input"
        raise UsageError(f"it is not known how diffusers' {name} is called; {names.meant(name, KINDS, otherwise)}")
    return KINDS[name]
