"""Which autoencoder turns latents into images: by name, folder, file or as the hub calls it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimbench import hub, presets
from dimbench.errors import DimbenchError, UsageError, plain
from dimbench.progress import doing
from dimbench.weights import catalog

if TYPE_CHECKING:
    from dimbench.sampling.autoencoder import Autoencoder

NAMED = {"ft-ema": "sd-vae-ft-ema", "ft-mse": "sd-vae-ft-mse"}
_CLASS = "AutoencoderKL"  # the one of diffusers' that these models were trained on
DEFAULT = "ft-ema"  # with which the published figures were drawn


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
    if not Path(name).exists():
        on_hub = f", or hf:{name} if it is one on the hub" if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else ""
        raise UsageError(
            f"there is no autoencoder {plain(name)}; give {' or '.join(NAMED)}, a folder that diffusers saved, a .pt, "
            f".ckpt or .safetensors file, or hf:owner/name{on_hub}"
        )
    return []


@doing("loading the autoencoder")
def load(name: str) -> Autoencoder:
    """The autoencoder `name`, on the CPU in float32. Raises DimbenchError where the place holds none."""
    from dimbench.sampling import autoencoder, compvis
    from dimbench.weights.checkpoints import read_weights
    from dimbench.weights.opening import config_beside

    place = Path(name)
    if name in NAMED:
        place = catalog.shared(NAMED[name]) or Path(NAMED[name])
    try:
        found = next(read_weights(place, compvis.SHARED_NAMES, inside=("vae", "vae_ema")))
        config = config_beside(found.files[0])
        kind = (config or {}).get("_class_name")
        if kind != _CLASS and config is not None and not place.is_file():
            raise DimbenchError(f"its config.json is of a {plain(kind)}, not of an {_CLASS}")
        return autoencoder.from_state(found.state, config if kind == _CLASS else None)
    except DimbenchError as error:
        raise DimbenchError(
            f"{plain(place)} holds no autoencoder that can be used: {error}; `dimbench weights fetch sd-vae-ft-ema` "
            "brings one"
        ) from None


def macs(state: tuple[int, ...], config: Any = None) -> int:
    """Multiply-adds of decoding one latent (C, h, w), by the rule that counts the backbones.

    `config` is that of diffusers' AutoencoderKL; None means the published models' own.
    """
    import torch

    from dimbench.counting.bill import trace
    from dimbench.counting.rules import RULES
    from dimbench.meta import shapes_only
    from dimbench.sampling.autoencoder import STABLE_DIFFUSION, Decoder

    with shapes_only():
        decoder, latents = Decoder(config or STABLE_DIFFUSION), torch.empty(1, *state)
    return RULES["macs"].macs(trace(decoder, {"latents": latents}, 1))
