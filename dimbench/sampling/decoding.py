"""Which autoencoder turns latents into images: by name, folder, file or hub id."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimbench import presets
from dimbench.errors import DimbenchError, UsageError
from dimbench.weights import catalog

if TYPE_CHECKING:
    from dimbench.sampling.autoencoder import Autoencoder

NAMED = {"ft-ema": "sd-vae-ft-ema", "ft-mse": "sd-vae-ft-mse"}
DEFAULT = "ft-ema"  # with which the published figures were drawn


def missing(name: str) -> list[str]:
    """What has to be fetched before `name` can be loaded, as a list of at most one. UsageError where no autoencoder
    can be called so."""
    if name not in NAMED:
        if not (Path(name).exists() or re.fullmatch(r"[\w.-]+/[\w.-]+", name)):
            raise UsageError(
                f"there is no autoencoder {name}; give {' or '.join(NAMED)}, a folder that diffusers saved, an old .pt "
                "or .ckpt file, or an id such as stabilityai/sd-vae-ft-ema"
            )
        return []
    if catalog.shared(NAMED[name]):
        return []
    home = presets.shared_files()[NAMED[name]].files[0].page
    return [f"--autoencoder FOLDER: the autoencoder {NAMED[name]}, {home}"]


def load(name: str) -> Autoencoder:
    """The autoencoder `name`, on the CPU in float32. Raises DimbenchError where the place holds none."""
    from dimbench.sampling import autoencoder
    from dimbench.weights import checkpoints

    place = (catalog.shared(NAMED[name]) or NAMED[name]) if name in NAMED else name
    try:
        if Path(place).is_file():
            return autoencoder.from_state(checkpoints.read_weights(Path(place)).state)
        return autoencoder.from_pretrained(place)
    except DimbenchError as error:
        fault = f"holds no autoencoder that can be used: {error}"
        if not Path(place).exists():
            fault = "was not found on the hub, or the hub cannot be reached"
        raise DimbenchError(f"{place} {fault}; `dimbench weights fetch sd-vae-ft-ema` brings one") from None


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
