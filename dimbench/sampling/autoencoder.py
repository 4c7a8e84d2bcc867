"""From latents to images: the Stable Diffusion autoencoder of the published models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from dimbench.errors import DimbenchError

SCALE = 0.18215


def load_decoder(folder: Path, device: str = "cpu") -> Callable[[Tensor], Tensor]:
    """latents (n, 4, h, w) -> images (n, 3, 8h, 8w) near [-1, 1], from a local folder as diffusers saves it."""
    try:
        from diffusers import AutoencoderKL
    except ImportError:
        raise DimbenchError("decoding latents needs the package diffusers; install dimbench[autoencoder]") from None
    try:
        autoencoder = AutoencoderKL.from_pretrained(folder, local_files_only=True).to(device).eval()
    except (OSError, ValueError) as error:
        raise DimbenchError(
            f"{folder} holds no autoencoder ({str(error).splitlines()[0]}); give a folder with config.json and "
            "weights, as `dimbench weights fetch sd-vae-ft-ema` makes one"
        ) from None

    @torch.inference_mode()
    def decode(latents: Tensor) -> Tensor:
        return torch.cat([autoencoder.decode(one[None].to(device) / SCALE).sample.cpu() for one in latents])

    return decode


def stand_in(latents: Tensor, stride: int) -> Tensor:
    """The first three channels enlarged: no image, but of the right shape, where a chain is run dry."""
    return latents[:, :3].repeat_interleave(stride, dim=2).repeat_interleave(stride, dim=3)
