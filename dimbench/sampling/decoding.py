"""Which autoencoder turns latents into images: by name, folder, file or as the hub calls it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from dimbench import hub, presets
from dimbench.diffusers_networks.latent_space import LatentSpace, latent_space, latent_spaces
from dimbench.errors import DimbenchError, UsageError, plain
from dimbench.progress import doing
from dimbench.weights import catalog

if TYPE_CHECKING:
    from dimbench.backbone import Backbone
    from dimbench.sampling.autoencoder import Autoencoder

NAMED = {"ft-ema": "sd-vae-ft-ema", "ft-mse": "sd-vae-ft-mse"}
USUAL = "sd-vae-ft-ema"  # of most published models

_STATISTICS = "latents_stats.pt"  # as LightningDiT's authors call it


def space_of(backbone: Backbone) -> LatentSpace:
    """The latents that the backbone's preset names, Stable Diffusion's where none does."""
    usual = backbone.preset.sampling.get("autoencoder") if backbone.preset else None
    return latent_space(backbone.conditions.get("autoencoder") or usual or USUAL)


def short_name(name: str) -> str:
    """What --autoencoder calls the one of that name."""
    return next((short for short, long in NAMED.items() if long == name), name)


def missing(name: str) -> list[str]:
    """What has to be fetched before `name` can be loaded, as a list of at most one. UsageError where no autoencoder
    can be called so."""
    if name in NAMED:
        if catalog.shared(NAMED[name]):
            return []
        home = presets.shared_files()[NAMED[name]].files[0].page
        return [f"--autoencoder FOLDER: the autoencoder {NAMED[name]}, {home}"]
    if hub.is_name(name):
        return (
            []
            if hub.local(hub.parse(name))
            else [f"--autoencoder {name}: `dimbench weights fetch {name}` asks the hub"]
        )
    if Path(name).exists():
        return []
    if name in latent_spaces():
        home = latent_spaces()[name].page or "of which no address is known here"
        return [f"--autoencoder FOLDER: the autoencoder {name}, {home}"]
    on_hub = f", or hf:{name} if it is one on the hub" if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else ""
    raise UsageError(
        f"there is no autoencoder {plain(name)}; give {' or '.join(NAMED)}, a folder that diffusers saved, a .pt, "
        f".ckpt or .safetensors file, or hf:owner/name{on_hub}"
    )


@doing("loading the autoencoder")
def load(name: str) -> Autoencoder:
    """The autoencoder `name`, on the CPU in float32; mean and deviation of its latents by channel are taken from a
    latents_stats.pt beside it. Raises DimbenchError where the place holds none."""
    from dimbench.sampling import autoencoder
    from dimbench.weights.checkpoints import read_weights
    from dimbench.weights.opening import config_beside

    place = Path(name)
    if name in NAMED:
        place = catalog.shared(NAMED[name]) or Path(NAMED[name])
    try:
        found = next(read_weights(place, autoencoder.KNOWN_NAMES, inside=("vae", "vae_ema")))
        config = config_beside(found.files[0])
        kind = (config or {}).get("_class_name")
        if kind not in autoencoder.KINDS and config is not None and not place.is_file():
            raise DimbenchError(f"its config.json is of a {plain(kind)}, not of one of {', '.join(autoencoder.KINDS)}")
        statistics = _statistics(found.files[0].with_name(_STATISTICS))
        return autoencoder.from_state(found.state, config if kind in autoencoder.KINDS else None, statistics)
    except DimbenchError as error:
        raise DimbenchError(
            f"{plain(place)} holds no autoencoder that can be used: {error}; `dimbench weights fetch sd-vae-ft-ema` "
            "brings one"
        ) from None


def _statistics(file: Path) -> tuple[list[float], list[float]] | None:
    """Mean and deviation by channel of latents, where the file is there."""
    from torch import Tensor

    from dimbench.weights.opening import open_checkpoint

    if not file.is_file():
        return None
    content = open_checkpoint(file).content
    mean, std = content.get("mean"), content.get("std")
    if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
        raise DimbenchError(f"{file.name} beside it holds no mean and std")
    return mean.flatten().tolist(), std.flatten().tolist()


def macs(state: tuple[int, ...], space: LatentSpace) -> int:
    """Multiply-adds of decoding one latent (C, h, w), by the rule that counts the backbones."""
    import torch

    from dimbench.counting.bill import trace
    from dimbench.counting.rules import RULES
    from dimbench.meta import shapes_only
    from dimbench.sampling.autoencoder import LatentDecoder

    with shapes_only():
        decoder, latents = LatentDecoder(space), torch.empty(1, *state)
    return RULES["macs"].macs(trace(decoder, {"latents": latents}, 1))
