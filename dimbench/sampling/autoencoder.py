"""Between images and latents: the Stable Diffusion autoencoder of the published models, as diffusers runs it."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dimbench.errors import DimbenchError, plain
from dimbench.sampling import compvis

if TYPE_CHECKING:
    from collections.abc import Iterator

SCALE = 0.18215

_PIXELS = 2**20  # per call: 16 images of 256 x 256, whose widest layer then takes half a gigabyte in float32


def normalised(
    decode: Callable[[Tensor], Tensor], mean: Sequence[float], std: Sequence[float]
) -> Callable[[Tensor], Tensor]:
    """`decode` for latents that are (bare - mean) / std by channel, not bare times SCALE."""

    def call(latents: Tensor) -> Tensor:
        shift, scale = (latents.new_tensor(values).view(-1, 1, 1) for values in (mean, std))
        return decode(SCALE * (latents * scale + shift))

    return call


class Autoencoder:
    """`network` with the latents scaled as the backbones know them; `fingerprint` is of the weights, whatever file
    and layout they came in."""

    def __init__(self, network: Any) -> None:
        self.network = network.eval().requires_grad_(False)
        self.fingerprint = _fingerprint(network)

    @property
    def stride(self) -> int:
        """Pixels of an image per side of a latent."""
        return 2 ** (len(self.network.config.block_out_channels) - 1)

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return self.network.config.latent_channels

    def check(self, channels: int, stride: int) -> None:
        """Raise DimbenchError if a backbone with such latents was not trained on this autoencoder's."""
        own = (self.channels, self.stride, self.network.config.scaling_factor)
        if own != (channels, stride, SCALE):
            raise DimbenchError(
                f"the autoencoder has {own[0]} latent channels of one side per {own[1]} pixels, scaled by {own[2]}, "
                f"and the model was trained on {channels} of {stride}, scaled by {SCALE}; give sd-vae-ft-ema or "
                "sd-vae-ft-mse"
            )

    def to(self, device: str, dtype: torch.dtype) -> Autoencoder:
        self.network.to(device=device, dtype=dtype)
        return self

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """latents (n, C, h, w) -> images (n, 3, h stride, w stride) near [-1, 1], float32 on the CPU."""
        batches = latents.split(self._at_once(latents.shape[-2:].numel() * self.stride**2))
        return torch.cat([self.network.decode(self._here(batch / SCALE)).sample.float().cpu() for batch in batches])

    @torch.inference_mode()
    def encode(self, images: Tensor, noise: Tensor) -> Tensor:
        """images (n, 3, h, w) in [-1, 1] -> latents (n, C, h / stride, w / stride), float32 on the CPU.

        `noise` has the latents' shape and picks the sample of the posterior, as in training; zeros give its mean.
        """
        found = []
        for batch in images.split(self._at_once(images.shape[-2:].numel())):
            posterior = self.network.encode(self._here(batch)).latent_dist
            found.append(torch.stack([posterior.mean, posterior.std]).float().cpu())
        mean, std = torch.cat(found, dim=1)
        return SCALE * (mean + std * noise)

    def _here(self, values: Tensor) -> Tensor:
        return values.to(device=self.network.device, dtype=self.network.dtype)

    @staticmethod
    def _at_once(pixels: int) -> int:
        return max(1, _PIXELS // pixels)


class Decoder(nn.Module):
    """The half that turns a latent into an image, alone, on torch's current default device: to be counted."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = _kl().from_config(dict(config)).eval()

    def forward(self, latents: Tensor) -> Tensor:
        return self.network.decode(latents, return_dict=False)[0]


STABLE_DIFFUSION = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
"""The published models' autoencoder: ft-ema and ft-mse are of this shape."""


def from_state(state: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> Autoencoder:
    """The autoencoder of a state dict in diffusers' names or the older ones (see compvis.py), in float32; without the
    `config` that diffusers saves beside it, its settings are told from the shapes."""
    weights = compvis.in_diffusers_names(state)
    try:
        with _quiet(), torch.device("meta"):
            network = _kl().from_config(dict(config) if config is not None else compvis.config_of(weights))
    except DimbenchError:
        raise
    except Exception as error:  # whatever diffusers does with settings of a wrong type
        raise DimbenchError(f"its config.json gives no network ({plain(error)})") from None
    expected = network.state_dict()
    wrong = [name for name in {**expected, **weights} if _shape(expected.get(name)) != _shape(weights.get(name))]
    if wrong:
        raise DimbenchError(
            f"{len(wrong)} weights are missing, unexpected or of another shape, {plain(wrong[0])} first"
        )
    network.load_state_dict(weights, assign=True)
    return Autoencoder(network.float())


def stand_in(latents: Tensor, stride: int) -> Tensor:
    """The first three channels enlarged: no image, but of the right shape, where a chain is run dry."""
    return latents[:, :3].repeat_interleave(stride, dim=2).repeat_interleave(stride, dim=3)


def _kl() -> Any:
    with _quiet():
        from diffusers import AutoencoderKL
    return AutoencoderKL


@contextmanager
def _quiet() -> Iterator[None]:
    """diffusers warns of packages that it would like and of deprecations between its own and its hub's."""
    logger = logging.getLogger("diffusers")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def _fingerprint(network: nn.Module) -> str:
    """The first half of a SHA-256 of all weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
