"""From the name of a class and its settings, or a folder that diffusers wrote, to a network."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimbench import names
from dimbench.errors import DimbenchError, UsageError
from dimbench.files import json_object

if TYPE_CHECKING:
    from torch import nn

# Files older than the classes name the class they were split from.
_FORMERLY = {"ada_norm_zero": "DiTTransformer2DModel", "ada_norm_single": "PixArtTransformer2DModel"}
# What the average of weights over training adds to the settings when it is saved.
_OF_AVERAGES = {"decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup"}
_FOLDERS = ("", "transformer", "unet")  # the last two below a pipeline's


def build(name: str, config: Mapping[str, Any]) -> nn.Module:
    """The network of diffusers' class `name` in eval mode, on torch's default device. UsageError for an unknown class,
    setting or value, and for settings of a version that the installed one cannot read."""
    chosen = settings(name, config)
    try:
        with quietly():
            return _class(name)(**chosen).eval()
    except Exception as error:
        raise UsageError(
            f"diffusers cannot build {name} with these settings ({_last_line(error)}){_age(config)}"
        ) from None


def settings(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of the class, those that `config` leaves out at their defaults. Settings that are switched off and
    that the class no longer has are left out."""
    parameters = inspect.signature(_class(name).__init__).parameters
    known = {key: parameter.default for key, parameter in parameters.items() if key not in ("self", "kwargs")}
    given = {key: value for key, value in config.items() if not key.startswith("_") and key not in _OF_AVERAGES}
    given = {key: value for key, value in given.items() if key in known or value not in (None, False)}
    if unknown := sorted(given.keys() - known.keys()):
        hint = names.meant(unknown[0], known, f"known are {', '.join(known)}")
        raise UsageError(f"{name} has no setting {unknown[0]!r}{_age(config)}; {hint}")
    return {**known, **given}


def read_config(place: Path) -> tuple[str, dict[str, Any]]:
    """The class and the settings in a config.json that diffusers wrote, in the folder that holds it, or in that of a
    pipeline, whose network lies below it. DimbenchError where there is none."""
    files = [place] if place.suffix == ".json" else [place / folder / "config.json" for folder in _FOLDERS]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise DimbenchError(
            f"{place} is no folder of diffusers: expected a config.json in it, or below it in transformer or unet"
        )
    try:
        config = json_object(file)
        name = config["_class_name"]
        if not isinstance(name, str):
            raise ValueError("its class has no name")
    except (OSError, ValueError, KeyError):
        raise DimbenchError(
            f"{file} names no class of diffusers: expected JSON with _class_name, as save_pretrained writes it"
        ) from None
    return _FORMERLY.get(str(config.get("norm_type")), name) if name == "Transformer2DModel" else name, config


@contextmanager
def quietly() -> Iterator[None]:
    """diffusers and transformers, and packages that they look for, warn of what nobody here asked for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _class(name: str) -> Any:
    with quietly():
        import diffusers

        found = getattr(diffusers, name, None) if name in dir(diffusers) else None
    if not (inspect.isclass(found) and issubclass(found, diffusers.ModelMixin)):
        networks = [each for each in dir(diffusers) if each.endswith("Model")]
        hint = names.meant(name, networks, "see diffusers' documentation for its models")
        raise UsageError(f"diffusers {diffusers.__version__} has no network {name!r}; {hint}")
    return found


def _age(config: Mapping[str, Any]) -> str:
    """A hint where the settings were written by a newer diffusers than the installed one."""
    import diffusers
    from packaging.version import InvalidVersion, Version

    try:
        newer = Version(config["_diffusers_version"]) > Version(diffusers.__version__)
    except (KeyError, InvalidVersion, TypeError):
        return ""
    wrote = (
        f" in diffusers {diffusers.__version__}; {config['_diffusers_version']} wrote them: install that or a newer one"
    )
    return wrote if newer else ""


def _last_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[-1]}" if text else type(error).__name__
