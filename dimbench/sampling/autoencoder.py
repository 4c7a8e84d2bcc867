"""Between images and latents: the autoencoders of the published models, as diffusers runs them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dimbench.diffusers_networks.latent_space import LatentSpace, frame_by_frame
from dimbench.diffusers_networks.loading import build
from dimbench.errors import DimbenchError, plain
from dimbench.sampling import compvis
from dimbench.sampling.precision import placed

_PIXELS = 2**20  # per call: 16 images of 256 x 256, whose widest layer then takes half a gigabyte in float32

KNOWN_NAMES = (*compvis.SHARED_NAMES, "decoder.decoder_embed.weight")
"""Weights by which an autoencoder is found in a checkpoint."""


@dataclass(frozen=True)
class Normalisation:
    """A backbone's latents are (bare - shift) scale, of the autoencoder's bare ones (n, C, h, w); `words` say so as
    presets/shared/autoencoders.toml does."""

    words: str
    scale: Tensor
    shift: Tensor

    def of(self, bare: Tensor) -> Tensor:
        return (bare - self.shift.to(bare)) * self.scale.to(bare)

    def bare(self, latents: Tensor) -> Tensor:
        return latents / self.scale.to(latents) + self.shift.to(latents)


def times(factor: float, shift: float = 0.0) -> Normalisation:
    return Normalisation(f"times {factor:g}", torch.tensor(factor), torch.tensor(shift))


def by_channel(mean: Sequence[float], std: Sequence[float]) -> Normalisation:
    """By the mean and the deviation of each channel."""
    shift, deviation = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))
    return Normalisation("by channel", 1 / deviation, shift)


class Autoencoder:
    """diffusers' AutoencoderKL, with latents as the backbones know them; `statistics` are the mean and the deviation by
    channel that they are normalised by, where its own settings do not say. `fingerprint` is of the weights, whatever
    file and layout they came in, and of these."""

    def __init__(self, network: Any, statistics: tuple[Sequence[float], Sequence[float]] | None = None) -> None:
        self.network = network.eval().requires_grad_(False)
        self.normalisation = self._normalisation(statistics)
        self.fingerprint = _fingerprint(network, self.normalisation)

    def _normalisation(self, statistics: tuple[Sequence[float], Sequence[float]] | None) -> Normalisation:
        said = self.network.config
        if statistics or (said.latents_mean and said.latents_std):
            return by_channel(*(statistics or (said.latents_mean, said.latents_std)))
        return times(said.scaling_factor, said.shift_factor or 0.0)

    @property
    def stride(self) -> int:
        """Pixels of an image per side of a latent."""
        return 2 ** (len(self.network.config.block_out_channels) - 1)

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return self.network.config.latent_channels

    @property
    def space(self) -> LatentSpace:
        """Its shape alone, to be counted."""
        kind = type(self.network).__name__
        return LatentSpace(kind, kind, self.stride, self.channels, source="", config=self.network.config)

    def check(self, channels: int, stride: int, space: LatentSpace) -> None:
        """Raise DimbenchError if a backbone with such latents of this space was not trained on this autoencoder's."""
        own = (self.channels, self.stride, self.normalisation.words)
        wanted = (channels, stride, space.normalised or own[2])
        if own != wanted:
            beside = " with latents_stats.pt, their mean and std, beside it" if space.normalised == "by channel" else ""
            raise DimbenchError(
                f"the autoencoder has {own[0]} latent channels of one side per {own[1]} pixels, normalised {own[2]}, "
                f"and the model was trained on {wanted[0]} of {wanted[1]}, normalised {wanted[2]}; give "
                f"{space.name}{beside}"
            )

    def to(self, device: str, dtype: torch.dtype) -> Autoencoder:
        placed(self.network, device, dtype)
        return self

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """latents (n, C, h, w) -> images (n, 3, h stride, w stride) near [-1, 1], float32 on the CPU; of clips
        (n, C, t, h, w) each frame."""
        if latents.ndim == 5:
            return frame_by_frame(self.decode, latents)
        batches = latents.split(at_once(latents.shape[-2:].numel() * self.stride**2))
        bare = map(self.normalisation.bare, batches)
        return torch.cat([self._decoded(self._here(batch)).float().cpu() for batch in bare])

    @torch.inference_mode()
    def encode(self, images: Tensor, noise: Tensor) -> Tensor:
        """images (n, 3, h, w) in [-1, 1] -> latents (n, C, h / stride, w / stride), float32 on the CPU.

        `noise` has the latents' shape and picks the sample of the posterior, as in training; zeros give its mean.
        """
        batches = images.split(at_once(images.shape[-2:].numel()))
        found = [torch.stack(self._posterior(self._here(batch))).float().cpu() for batch in batches]
        mean, std = torch.cat(found, dim=1)
        return self.normalisation.of(mean + std * noise)

    def _decoded(self, bare: Tensor) -> Tensor:
        return self.network.decode(bare).sample

    def _posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation."""
        found = self.network.encode(images).latent_dist
        return found.mean, found.std

    def _here(self, values: Tensor) -> Tensor:
        return values.to(device=self.network.device, dtype=self.network.dtype)


class CodebookAutoencoder(Autoencoder):
    """diffusers' VQModel: latents are bare and snap to the codebook when they are decoded."""

    def _normalisation(self, statistics: tuple[Sequence[float], Sequence[float]] | None) -> Normalisation:
        return Normalisation("not at all", torch.tensor(1.0), torch.tensor(0.0))

    def _posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = self.network.encode(images).latents
        return found, torch.zeros_like(found)


class RepresentationAutoencoder(Autoencoder):
    """diffusers' AutoencoderRAE, which normalises latents by figures among its weights and works on [0, 1]."""

    def _normalisation(self, statistics: tuple[Sequence[float], Sequence[float]] | None) -> Normalisation:
        return Normalisation("by channel and place", torch.tensor(1.0), torch.tensor(0.0))

    @property
    def stride(self) -> int:
        return self.network.config.patch_size

    @property
    def channels(self) -> int:
        return self.network.config.encoder_hidden_size

    def _decoded(self, bare: Tensor) -> Tensor:
        return 2 * self.network.decode(bare).sample - 1

    def _posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = self.network.encode(images / 2 + 0.5).latent
        return found, torch.zeros_like(found)


KINDS: dict[str, type[Autoencoder]] = {
    "AutoencoderKL": Autoencoder,
    "VQModel": CodebookAutoencoder,
    "AutoencoderRAE": RepresentationAutoencoder,
}
"""By diffusers' class."""


class LatentDecoder(nn.Module):
    """The half that turns latents into a picture or clip, of an autoencoder of diffusers with weights of its own: to be
    counted and timed."""

    def __init__(self, space: LatentSpace) -> None:
        super().__init__()
        self.space, self.network = space, space.build()

    def forward(self, latents: Tensor) -> Tensor:
        return self.space.decode(self.network, latents)


def from_state(
    state: Mapping[str, Tensor],
    config: Mapping[str, Any] | None = None,
    statistics: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Autoencoder:
    """The autoencoder of a state dict in diffusers' names or the older ones (see compvis.py), in float32; without the
    `config` that diffusers saves beside it, its class and settings are told from the names and shapes."""
    if config is None:
        weights = compvis.in_diffusers_names(state)
        config = compvis.config_of(weights)
    else:
        weights = compvis.in_diffusers_names(state) if config["_class_name"] != "AutoencoderRAE" else dict(state)
    kind = KINDS[config["_class_name"]]
    try:
        # a representation autoencoder has tables that no file holds
        with torch.device("cpu" if kind is RepresentationAutoencoder else "meta"):
            network = build(config["_class_name"], config)
    except DimbenchError as error:
        raise DimbenchError(f"its config.json gives no network ({plain(error)})") from None
    expected = network.state_dict()
    wrong = [name for name in {**expected, **weights} if _shape(expected.get(name)) != _shape(weights.get(name))]
    if wrong:
        raise DimbenchError(
            f"{len(wrong)} weights are missing, unexpected or of another shape, {plain(wrong[0])} first"
        )
    network.load_state_dict(weights, assign=True)
    return kind(network.float(), statistics)


def at_once(pixels: int) -> int:
    """How many images of so many pixels go through an autoencoder together."""
    return max(1, _PIXELS // pixels)


def stand_in(latents: Tensor, stride: int) -> Tensor:
    """The first three channels enlarged: no image, but of the right shape, where a chain is run dry."""
    return latents[:, :3].repeat_interleave(stride, dim=-2).repeat_interleave(stride, dim=-1)


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def _fingerprint(network: nn.Module, normalisation: Normalisation) -> str:
    """The first half of a SHA-256 of all weights, and of what the latents are normalised by."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.float().contiguous().numpy().tobytes())
    if normalisation.scale.ndim:
        digest.update(normalisation.scale.numpy().tobytes() + normalisation.shift.numpy().tobytes())
    return digest.hexdigest()[:16]
