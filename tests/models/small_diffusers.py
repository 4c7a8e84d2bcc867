"""A small configuration of each known class of diffusers, and the call that diffusers' own pipeline makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dimbench.diffusers_networks import Given, Size

PICTURE, CLIP = (64, 96), (64, 96)
SQUARE = (64, 64)

SMALL: dict[str, tuple[dict[str, Any], Size]] = {
    "DiTTransformer2DModel": (
        {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "sample_size": 8, "out_channels": 8,
         "num_embeds_ada_norm": 10},
        Size(SQUARE),
    ),
    "UNet2DModel": (
        {"sample_size": 16, "block_out_channels": (32, 64), "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
         "up_block_types": ("AttnUpBlock2D", "UpBlock2D"), "layers_per_block": 1, "num_class_embeds": 10},
        Size((16, 24), stride=1),
    ),
    "UNet2DConditionModel": (
        {"sample_size": 8, "block_out_channels": (32, 64), "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
         "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "layers_per_block": 1, "cross_attention_dim": 16,
         "attention_head_dim": 2, "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
         "projection_class_embeddings_input_dim": 6 * 8 + 12},
        Size(PICTURE, text_tokens=7),
    ),
    "PixArtTransformer2DModel": (
        {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 2, "sample_size": 8, "caption_channels": 12,
         "cross_attention_dim": 24, "use_additional_conditions": True},
        Size(PICTURE, text_tokens=7),
    ),
    "HunyuanDiT2DModel": (
        {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 4, "sample_size": 8, "hidden_size": 16,
         "in_channels": 4, "patch_size": 2, "cross_attention_dim": 12, "cross_attention_dim_t5": 24,
         "pooled_projection_dim": 8, "text_len": 5, "text_len_t5": 6},
        Size(SQUARE),
    ),
    "SD3Transformer2DModel": (
        {"sample_size": 8, "num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2, "in_channels": 4,
         "out_channels": 4, "joint_attention_dim": 12, "caption_projection_dim": 16, "pooled_projection_dim": 10,
         "pos_embed_max_size": 12, "qk_norm": "rms_norm", "dual_attention_layers": (0,)},
        Size(PICTURE, text_tokens=7),
    ),
    "FluxTransformer2DModel": (
        {"in_channels": 16, "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
         "joint_attention_dim": 12, "pooled_projection_dim": 10, "guidance_embeds": True, "axes_dims_rope": (4, 4, 8)},
        Size(PICTURE, text_tokens=7, guidance=3.5),
    ),
    "Flux2Transformer2DModel": (
        {"in_channels": 16, "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
         "joint_attention_dim": 12, "timestep_guidance_channels": 16, "axes_dims_rope": (4, 4, 4, 4)},
        Size(PICTURE, text_tokens=7, guidance=4.0),
    ),
    "QwenImageTransformer2DModel": (
        {"in_channels": 16, "out_channels": 4, "num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
         "joint_attention_dim": 12, "axes_dims_rope": (4, 4, 8)},
        Size(PICTURE, text_tokens=7),
    ),
    "SanaTransformer2DModel": (
        {"in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2,
         "num_cross_attention_heads": 2, "cross_attention_head_dim": 8, "cross_attention_dim": 16,
         "caption_channels": 12, "sample_size": 4, "timestep_scale": 0.5},
        Size((128, 192), text_tokens=7, stride=32),
    ),
    "Lumina2Transformer2DModel": (
        {"sample_size": 8, "hidden_size": 24, "num_layers": 2, "num_refiner_layers": 1, "num_attention_heads": 3,
         "num_kv_heads": 1, "in_channels": 4, "axes_dim_rope": (4, 2, 2), "axes_lens": (32, 32, 32),
         "cap_feat_dim": 12, "multiple_of": 16},
        Size(PICTURE, text_tokens=7),
    ),
    "AuraFlowTransformer2DModel": (
        {"sample_size": 8, "num_mmdit_layers": 1, "num_single_dit_layers": 2, "attention_head_dim": 8,
         "num_attention_heads": 2, "joint_attention_dim": 12, "caption_projection_dim": 16, "pos_embed_max_size": 256},
        Size(PICTURE, text_tokens=7),
    ),
    "ZImageTransformer2DModel": (
        {"in_channels": 4, "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2,
         "cap_feat_dim": 12, "axes_dims": [4, 4, 8], "axes_lens": [128, 64, 64]},
        Size(PICTURE, text_tokens=7),
    ),
    "LatteTransformer3DModel": (
        {"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4, "out_channels": 8, "num_layers": 2,
         "cross_attention_dim": 16, "sample_size": 8, "patch_size": 2, "num_embeds_ada_norm": 1000,
         "norm_type": "ada_norm_single", "norm_elementwise_affine": False, "caption_channels": 12, "video_length": 4,
         "activation_fn": "gelu-approximate", "attention_bias": True},
        Size(SQUARE, frames=4, text_tokens=7),
    ),
    "CogVideoXTransformer3DModel": (
        {"num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4, "time_embed_dim": 8,
         "text_embed_dim": 12, "num_layers": 2, "sample_width": 16, "sample_height": 8, "sample_frames": 9,
         "max_text_seq_length": 7, "use_rotary_positional_embeddings": True},
        Size(CLIP, frames=9, text_tokens=7, temporal_stride=4),
    ),
    "LTXVideoTransformer3DModel": (
        {"in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 8,
         "cross_attention_dim": 16, "num_layers": 2, "caption_channels": 12},
        Size(CLIP, frames=9, text_tokens=7, stride=32, temporal_stride=8),
    ),
    "WanTransformer3DModel": (
        {"num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 4, "out_channels": 4, "text_dim": 12,
         "freq_dim": 16, "ffn_dim": 32, "num_layers": 2, "rope_max_seq_len": 32},
        Size(CLIP, frames=9, text_tokens=7, temporal_stride=4),
    ),
    "HunyuanVideoTransformer3DModel": (
        {"in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 1,
         "num_single_layers": 1, "num_refiner_layers": 1, "text_embed_dim": 12, "pooled_projection_dim": 10,
         "rope_axes_dim": (4, 4, 8)},
        Size(CLIP, frames=9, text_tokens=7, temporal_stride=4, guidance=6.0),
    ),
}  # fmt: skip

Direct = Callable[[Any, Tensor, Tensor, Given], Tensor]


def _pixart(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
    added = {"resolution": torch.tensor([[64.0, 96.0]] * 2), "aspect_ratio": torch.tensor([[64 / 96]] * 2)}
    text = given["encoder_hidden_states"]
    return model(
        hidden_states=x, encoder_hidden_states=text, encoder_attention_mask=torch.ones(2, 7), timestep=t,
        added_cond_kwargs=added,
    ).sample.chunk(2, dim=1)[0]  # fmt: skip


def _sdxl(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
    added = {"text_embeds": given["text_embeds"], "time_ids": torch.tensor([[64.0, 96.0, 0.0, 0.0, 64.0, 96.0]] * 2)}
    return model(
        sample=x, timestep=t, encoder_hidden_states=given["encoder_hidden_states"], added_cond_kwargs=added
    ).sample


def _hunyuan(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
    from diffusers.models.embeddings import get_2d_rotary_pos_embed
    from diffusers.pipelines.hunyuandit.pipeline_hunyuandit import get_resize_crop_region_for_grid

    crop = get_resize_crop_region_for_grid((4, 4), 32)
    return model(
        hidden_states=x, timestep=t, encoder_hidden_states=given["encoder_hidden_states"],
        text_embedding_mask=torch.ones(2, 5), encoder_hidden_states_t5=given["encoder_hidden_states_t5"],
        text_embedding_mask_t5=torch.ones(2, 6), image_meta_size=torch.tensor([[64.0, 64.0, 64.0, 64.0, 0.0, 0.0]] * 2),
        style=torch.zeros(2, dtype=torch.long), image_rotary_emb=get_2d_rotary_pos_embed(8, crop, (4, 4)),
    ).sample.chunk(2, dim=1)[0]  # fmt: skip


def _flux(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
    from diffusers import FluxPipeline

    tokens = FluxPipeline._pack_latents(x, 2, 4, 8, 12)
    ids = FluxPipeline._prepare_latent_image_ids(2, 4, 6, "cpu", torch.float32)
    output = model(
        hidden_states=tokens, timestep=1 - t, guidance=torch.full((2,), 3.5), txt_ids=torch.zeros(7, 3), img_ids=ids,
        encoder_hidden_states=given["encoder_hidden_states"], pooled_projections=given["pooled_projections"],
    )  # fmt: skip
    return -FluxPipeline._unpack_latents(output.sample, 64, 96, 8)


def _flux2(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
    from diffusers import Flux2Pipeline

    latents, text = Flux2Pipeline._patchify_latents(x), given["encoder_hidden_states"]
    output = model(
        hidden_states=Flux2Pipeline._pack_latents(latents), timestep=1 - t, guidance=torch.full((2,), 4.0),
        encoder_hidden_states=text, txt_ids=Flux2Pipeline._prepare_text_ids(text),
        img_ids=Flux2Pipeline._prepare_latent_ids(latents),
    )  # fmt: skip
    return -Flux2Pipeline._unpatchify_latents(output.sample.transpose(1, 2).unflatten(2, (4, 6)))


def _qwen(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
    from diffusers import QwenImagePipeline

    output = model(
        hidden_states=QwenImagePipeline._pack_latents(x, 2, 4, 8, 12), timestep=1 - t, img_shapes=[[(1, 4, 6)]] * 2,
        encoder_hidden_states=given["encoder_hidden_states"],
    )  # fmt: skip
    return -QwenImagePipeline._unpack_latents(output.sample, 64, 96, 8).squeeze(2)


def _lumina(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
    text = given["encoder_hidden_states"]
    mask = torch.ones(2, 7, dtype=torch.bool)
    return model(hidden_states=x, timestep=t, encoder_hidden_states=text, encoder_attention_mask=mask).sample


def _z_image(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
    pictures = [picture.unsqueeze(1) for picture in x]
    return torch.stack([s.squeeze(1) for s in model(pictures, t, list(given["encoder_hidden_states"])).sample])


def _cogvideo(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
    from diffusers.models.embeddings import get_3d_rotary_pos_embed
    from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

    crop = get_resize_crop_region_for_grid((4, 6), 8, 4)
    angles = get_3d_rotary_pos_embed(16, crop, (4, 6), 3)
    text = given["encoder_hidden_states"]
    output = model(
        hidden_states=x.permute(0, 2, 1, 3, 4), timestep=t, encoder_hidden_states=text, image_rotary_emb=angles
    )
    return output.sample.permute(0, 2, 1, 3, 4)


def _ltx(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
    from diffusers import LTXPipeline

    output = model(
        hidden_states=LTXPipeline._pack_latents(x), timestep=1000 * (1 - t), num_frames=2, height=2, width=3,
        encoder_hidden_states=given["encoder_hidden_states"], encoder_attention_mask=torch.ones(2, 7),
        rope_interpolation_scale=(8 / 25, 32, 32),
    )  # fmt: skip
    return -LTXPipeline._unpack_latents(output.sample, 2, 2, 3)


def _hunyuan_video(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
    return -model(
        hidden_states=x, timestep=1000 * (1 - t), encoder_hidden_states=given["encoder_hidden_states"],
        encoder_attention_mask=torch.ones(2, 7), pooled_projections=given["pooled_projections"],
        guidance=torch.full((2,), 6000.0),
    ).sample  # fmt: skip


def _text(sign: int, times: Callable[[Tensor], Tensor], **names: str) -> Direct:
    def call(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
        told = {theirs: given[ours] for theirs, ours in names.items()}
        text = given["encoder_hidden_states"]
        return sign * model(hidden_states=x, timestep=times(t), encoder_hidden_states=text, **told).sample[:, :4]

    return call


DIRECT: dict[str, Direct] = {
    "DiTTransformer2DModel": lambda model, x, t, given: model(
        hidden_states=x, timestep=t, class_labels=given["class_labels"]
    ).sample.chunk(2, dim=1)[0],
    "UNet2DModel": lambda model, x, t, given: model(sample=x, timestep=t, class_labels=given["class_labels"]).sample,
    "UNet2DConditionModel": _sdxl,
    "PixArtTransformer2DModel": _pixart,
    "HunyuanDiT2DModel": _hunyuan,
    "SD3Transformer2DModel": _text(-1, lambda t: 1000 * (1 - t), pooled_projections="pooled_projections"),
    "FluxTransformer2DModel": _flux,
    "Flux2Transformer2DModel": _flux2,
    "QwenImageTransformer2DModel": _qwen,
    "SanaTransformer2DModel": _text(
        -1, lambda t: 1000 * (1 - t) * 0.5, encoder_attention_mask="encoder_attention_mask"
    ),
    "Lumina2Transformer2DModel": _lumina,
    "AuraFlowTransformer2DModel": _text(-1, lambda t: 1 - t),
    "ZImageTransformer2DModel": _z_image,
    "LatteTransformer3DModel": _text(1, lambda t: t),
    "CogVideoXTransformer3DModel": _cogvideo,
    "LTXVideoTransformer3DModel": _ltx,
    "WanTransformer3DModel": _text(-1, lambda t: 1000 * (1 - t)),
    "HunyuanVideoTransformer3DModel": _hunyuan_video,
}
