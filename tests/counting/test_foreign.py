"""Networks that nobody here wrote, counted on shapes, against torch's own counter over the decomposed graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision.models as vision
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from dimbench.counting.bill import Inputs, call, trace
from dimbench.counting.rules import RULES
from dimbench.meta import build

NOT_FETCHED: dict[str, Any] = {"lraspp_mobilenet_v3_large": {"weights_backbone": None}}
VISION: dict[str, Callable[[], nn.Module]] = {
    name: lambda name=name: vision.get_model(name, weights=None, **NOT_FETCHED.get(name, {}))
    for name in (
        "resnet18", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1", "densenet121",
        "efficientnet_b0", "convnext_tiny", "regnet_y_400mf", "mnasnet0_5", "swin_t", "swin_v2_t",
        "lraspp_mobilenet_v3_large",
    )
} | {
    "vit": lambda: vision.VisionTransformer(64, 16, 2, 4, 64, 128),
    "maxvit": lambda: vision.MaxVit((64, 64), 16, 2, [16, 32], [1, 1], 8, 0.0),
    "googlenet": lambda: vision.GoogLeNet(aux_logits=False, init_weights=False),
}  # fmt: skip


def of(*shape: int, low: int | None = None) -> Tensor:
    """Noise of this shape, or small whole numbers."""
    return torch.zeros(shape) if low is None else torch.full(shape, low)


HEADS = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2}
FOUR = {"in_channels": 4, "out_channels": 4}
IMAGE, MOMENT, TEXT, MASK = of(2, 4, 8, 8), of(2, low=7), of(2, 5, 24), of(2, 5, low=1)

# class of diffusers -> (settings, inputs by name)
DIFFUSION: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "DiTTransformer2DModel": (
        {**HEADS, "sample_size": 8, "num_embeds_ada_norm": 10},
        {"hidden_states": IMAGE, "timestep": MOMENT, "class_labels": of(2, low=1)},
    ),
    "SD3Transformer2DModel": (
        {**HEADS, "sample_size": 8, "in_channels": 4, "joint_attention_dim": 24, "caption_projection_dim": 32,
         "pooled_projection_dim": 20, "out_channels": 4, "pos_embed_max_size": 8, "dual_attention_layers": (0,),
         "qk_norm": "rms_norm"},
        {"hidden_states": IMAGE, "encoder_hidden_states": TEXT, "pooled_projections": of(2, 20), "timestep": MOMENT},
    ),
    "PixArtTransformer2DModel": (
        {**HEADS, "sample_size": 8, "cross_attention_dim": 32, "caption_channels": 24,
         "use_additional_conditions": False},
        {"hidden_states": IMAGE, "encoder_hidden_states": TEXT, "timestep": MOMENT,
         "encoder_attention_mask": MASK, "added_cond_kwargs": {"resolution": None, "aspect_ratio": None}},
    ),
    "SanaTransformer2DModel": (
        {**HEADS, **FOUR, "num_cross_attention_heads": 2, "cross_attention_head_dim": 16,
         "cross_attention_dim": 32, "caption_channels": 24, "sample_size": 8},
        {"hidden_states": IMAGE, "encoder_hidden_states": TEXT, "timestep": MOMENT},
    ),
    "FluxTransformer2DModel": (
        {**HEADS, "in_channels": 4, "num_single_layers": 2, "joint_attention_dim": 24, "pooled_projection_dim": 20,
         "axes_dims_rope": (4, 4, 8)},
        {"hidden_states": of(2, 16, 4), "encoder_hidden_states": TEXT, "pooled_projections": of(2, 20),
         "timestep": of(2), "img_ids": of(16, 3), "txt_ids": of(5, 3)},
    ),
    "Flux2Transformer2DModel": (
        {**HEADS, "in_channels": 4, "num_single_layers": 2, "joint_attention_dim": 24,
         "timestep_guidance_channels": 16,
         "axes_dims_rope": (4, 4, 4, 4)},
        {"hidden_states": of(2, 16, 4), "encoder_hidden_states": TEXT, "timestep": of(2), "img_ids": of(16, 4),
         "txt_ids": of(5, 4), "guidance": of(2)},
    ),
    "WanTransformer3DModel": (
        {**HEADS, **FOUR, "text_dim": 24, "freq_dim": 16, "ffn_dim": 48, "rope_max_seq_len": 16},
        {"hidden_states": of(2, 4, 3, 8, 8), "timestep": MOMENT, "encoder_hidden_states": TEXT},
    ),
    "HunyuanVideoTransformer3DModel": (
        {**HEADS, **FOUR, "num_single_layers": 2, "num_refiner_layers": 1, "text_embed_dim": 24,
         "pooled_projection_dim": 20, "rope_axes_dim": (4, 4, 8)},
        {"hidden_states": of(2, 4, 3, 8, 8), "timestep": MOMENT, "encoder_hidden_states": TEXT,
         "encoder_attention_mask": MASK, "pooled_projections": of(2, 20), "guidance": of(2)},
    ),
    "CogVideoXTransformer3DModel": (
        {**HEADS, **FOUR, "time_embed_dim": 16, "text_embed_dim": 24, "sample_width": 8,
         "sample_height": 8, "sample_frames": 9, "max_text_seq_length": 5},
        {"hidden_states": of(2, 3, 4, 8, 8), "encoder_hidden_states": TEXT, "timestep": MOMENT},
    ),
    "LTXVideoTransformer3DModel": (
        {**HEADS, **FOUR, "cross_attention_dim": 32, "caption_channels": 24},
        {"hidden_states": of(2, 32, 4), "encoder_hidden_states": TEXT, "timestep": MOMENT,
         "encoder_attention_mask": MASK, "num_frames": 2, "height": 4, "width": 4},
    ),
    "LatteTransformer3DModel": (
        {**HEADS, "in_channels": 4, "out_channels": 8, "cross_attention_dim": 32, "attention_bias": True,
         "sample_size": 8,
         "patch_size": 2, "activation_fn": "gelu-approximate", "num_embeds_ada_norm": 1000,
         "norm_type": "ada_norm_single",
         "norm_elementwise_affine": False, "caption_channels": 24, "video_length": 3},
        {"hidden_states": of(2, 4, 3, 8, 8), "timestep": MOMENT, "encoder_hidden_states": TEXT},
    ),
    "Lumina2Transformer2DModel": (
        {"sample_size": 8, "in_channels": 4, "hidden_size": 32, "num_layers": 2, "num_refiner_layers": 1,
         "num_attention_heads": 4, "num_kv_heads": 2, "multiple_of": 16, "axes_dim_rope": (4, 2, 2),
         "axes_lens": (16, 16, 16), "cap_feat_dim": 24},
        {"hidden_states": IMAGE, "timestep": of(2), "encoder_hidden_states": TEXT,
         "encoder_attention_mask": MASK},
    ),
    "AuraFlowTransformer2DModel": (
        {"sample_size": 8, "num_mmdit_layers": 1, "num_single_dit_layers": 2, "attention_head_dim": 16,
         "num_attention_heads": 2,
         "joint_attention_dim": 24, "caption_projection_dim": 32, "pos_embed_max_size": 64},
        {"hidden_states": IMAGE, "encoder_hidden_states": TEXT, "timestep": of(2)},
    ),
    "HunyuanDiT2DModel": (
        {**HEADS, "in_channels": 4, "patch_size": 2, "sample_size": 8, "hidden_size": 32, "cross_attention_dim": 24,
         "cross_attention_dim_t5": 32, "pooled_projection_dim": 24, "text_len": 5, "text_len_t5": 6,
         "use_style_cond_and_image_meta_size": False},
        {"hidden_states": IMAGE, "timestep": of(2), "encoder_hidden_states": TEXT,
         "text_embedding_mask": MASK, "encoder_hidden_states_t5": of(2, 6, 32),
         "text_embedding_mask_t5": of(2, 6, low=1), "image_rotary_emb": (of(16, 16), of(16, 16))},
    ),
    "QwenImageTransformer2DModel": (
        {**HEADS, "in_channels": 16, "out_channels": 4, "joint_attention_dim": 24, "axes_dims_rope": (4, 6, 6)},
        {"hidden_states": of(2, 16, 16), "encoder_hidden_states": TEXT, "timestep": of(2),
         "encoder_hidden_states_mask": MASK, "img_shapes": [[(1, 4, 4)]] * 2},
    ),
    "ZImageTransformer2DModel": (
        {"in_channels": 4, "dim": 64, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 4, "n_kv_heads": 4,
         "cap_feat_dim": 24,
         "axes_dims": [4, 6, 6], "axes_lens": [64, 32, 32]},
        {"x": [of(4, 1, 8, 8), of(4, 1, 8, 8)], "t": of(2), "cap_feats": [of(5, 24), of(7, 24)]},
    ),
    "UNet2DConditionModel": (
        {"block_out_channels": (32, 64), "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
         "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "cross_attention_dim": 24, "layers_per_block": 1},
        {"sample": of(2, 4, 8, 8), "timestep": 7, "encoder_hidden_states": TEXT},
    ),
    "UNet2DModel": (
        {"block_out_channels": (32, 64), "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
         "up_block_types": ("AttnUpBlock2D", "UpBlock2D"), "layers_per_block": 1},
        {"sample": of(2, 3, 8, 8), "timestep": 7},
    ),
    "AutoencoderKL": ({"block_out_channels": (32,)}, {"sample": of(2, 3, 16, 16)}),
    "AutoencoderDC": (
        {"attention_head_dim": 8, "encoder_block_types": ("ResBlock", "EfficientViTBlock"), "latent_channels": 4,
         "decoder_block_types": ("ResBlock", "EfficientViTBlock"), "encoder_block_out_channels": (8, 16),
         "decoder_block_out_channels": (8, 16), "encoder_layers_per_block": (1, 1), "decoder_layers_per_block": (1, 1),
         "encoder_qkv_multiscales": ((), (5,)), "decoder_qkv_multiscales": ((), (5,))},
        {"sample": of(2, 3, 16, 16)},
    ),
    "MochiTransformer3DModel": (
        {**HEADS, "pooled_projection_dim": 20, "in_channels": 4, "text_embed_dim": 24, "time_embed_dim": 16,
         "max_sequence_length": 5},
        {"hidden_states": of(2, 4, 2, 8, 8), "encoder_hidden_states": TEXT, "timestep": MOMENT,
         "encoder_attention_mask": MASK},
    ),
    "AllegroTransformer3DModel": (
        {**HEADS, "cross_attention_dim": 32, "caption_channels": 24, "sample_height": 8, "sample_width": 8,
         "sample_frames": 3},
        {"hidden_states": of(2, 4, 2, 8, 8), "encoder_hidden_states": TEXT, "timestep": MOMENT},
    ),
    "CogView4Transformer2DModel": (
        {**HEADS, **FOUR, "text_embed_dim": 24, "time_embed_dim": 16, "condition_dim": 8,
         "pos_embed_max_size": 8, "sample_size": 8, "rope_axes_dim": (8, 8)},
        {"hidden_states": IMAGE, "encoder_hidden_states": TEXT, "timestep": MOMENT, "original_size": of(2, 2),
         "target_size": of(2, 2), "crop_coords": of(2, 2)},
    ),
}  # fmt: skip


# classes that cut the text by its mask: shapes of all but the mask are enough
CUT_BY_MASK = {"Lumina2Transformer2DModel", "MochiTransformer3DModel"}


def shapes(value: Any) -> Any:
    return tree_map_only(Tensor, lambda x: x.to("meta"), value)


def agree(factory: Callable[[], nn.Module], inputs: Inputs, given: Inputs) -> None:
    """The real network, attention and encoder layers taken apart, and the one of shapes make the same products."""
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            call(factory().eval(), inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    bill = trace(build(factory).eval(), given, 2)
    assert counter.get_total_flops() > 0
    assert 2 * RULES["macs"].macs(bill) == counter.get_total_flops()
    assert not bill.missing
    assert not bill.real


@pytest.mark.parametrize("name", VISION)
def test_torchvision(name: str) -> None:
    inputs: Inputs = ([of(2, 3, 64, 64)], {})
    agree(VISION[name], inputs, shapes(inputs))


@pytest.mark.parametrize("name", DIFFUSION)
def test_diffusers(name: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    settings, inputs = DIFFUSION[name]
    given = shapes(inputs)
    if name in CUT_BY_MASK:
        given["encoder_attention_mask"] = inputs["encoder_attention_mask"]
    agree(lambda: getattr(diffusers, name)(**settings), inputs, given)
