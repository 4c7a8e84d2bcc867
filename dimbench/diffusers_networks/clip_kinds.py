"""The classes of diffusers that draw clips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dimbench.diffusers_networks import packing
from dimbench.diffusers_networks.kind import Config, Given, Kind, Same, Size, Told, clips
from dimbench.diffusers_networks.picture_kinds import THOUSAND, first, flow, full
from dimbench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

# LTX's positions are in seconds and pixels: 8 frames of 1/25 s and 32 pixels per latent.
_LTX_LATENT = (8 / 25, 32, 32)


def _latte_told(config: Config, size: Size) -> Told:
    return {"encoder_hidden_states": (size.text_tokens, config["caption_channels"])}


def _latte_clips(config: Config, size: Size) -> tuple[int, ...]:
    if size.frames != config["video_length"]:
        raise UsageError(
            f"this Latte has positions for {config['video_length']} frames, not {size.frames}; give it those with "
            f"--set video_length={size.frames}"
        )
    return clips(config, size)


def _latte(model: nn.Module, x: Tensor, t: Tensor, given: Given) -> Tensor:
    return first(model(x, timestep=t, **given, return_dict=False), x)


def _cogvideo_told(config: Config, size: Size) -> Told:
    return {"encoder_hidden_states": (size.text_tokens, config["text_embed_dim"])}


def _cogvideo(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
    output = model(
        x.transpose(1, 2), timestep=t, **given, image_rotary_emb=_cogvideo_angles(model.config, x), return_dict=False
    )
    return output[0].transpose(1, 2)


def _cogvideo_angles(config: Any, x: Tensor) -> tuple[Tensor, Tensor] | None:
    if not config.use_rotary_positional_embeddings:
        return None
    patch, together = config.patch_size, config.patch_size_t
    rotary = packing.rotary_3d if together is None else packing.rotary_slice
    return rotary(
        config.attention_head_dim,
        x.shape[2] // (together or 1),
        (x.shape[3] // patch, x.shape[4] // patch),
        (config.sample_height // patch, config.sample_width // patch),
        x.device,
    )


def _cogvideo_clips(config: Config, size: Size) -> tuple[int, ...]:
    channels, frames, *sides = clips(config, size)
    together = config["patch_size_t"] or 1
    return (channels, -(-frames // together) * together, *sides)  # filled up to whole patches, as the pipeline does


def _ltx_told(config: Config, size: Size) -> Told:
    return {
        "encoder_hidden_states": (size.text_tokens, config["caption_channels"]),
        "encoder_attention_mask": full(size.text_tokens),
    }


def _ltx(model: nn.Module, x: Tensor, t: Tensor, given: Given) -> Tensor:
    _, _, frames, height, width = x.shape
    output = model(
        x.flatten(2).transpose(1, 2),
        timestep=THOUSAND * (1 - t),
        num_frames=frames,
        height=height,
        width=width,
        rope_interpolation_scale=_LTX_LATENT,
        **given,
        return_dict=False,
    )
    return -output[0].transpose(1, 2).unflatten(2, (frames, height, width))


def _wan_told(config: Config, size: Size) -> Told:
    return {"encoder_hidden_states": (size.text_tokens, config["text_dim"])}


def _hunyuan_video_told(config: Config, size: Size) -> Told:
    told: dict[str, Any] = {
        "encoder_hidden_states": (size.text_tokens, config["text_embed_dim"]),
        "encoder_attention_mask": full(size.text_tokens),
        "pooled_projections": (config["pooled_projection_dim"],),
    }
    return told | ({"guidance": Same(THOUSAND * size.guidance)} if config["guidance_embeds"] else {})


KINDS = {
    "LatteTransformer3DModel": Kind(_latte_told, _latte, _latte_clips),
    "CogVideoXTransformer3DModel": Kind(_cogvideo_told, _cogvideo, _cogvideo_clips),
    "LTXVideoTransformer3DModel": Kind(_ltx_told, _ltx, clips),
    "WanTransformer3DModel": Kind(_wan_told, flow, clips),
    "HunyuanVideoTransformer3DModel": Kind(_hunyuan_video_told, flow, clips),
}
