"""The classes of diffusers that draw pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dimbench.diffusers_networks import packing
from dimbench.diffusers_networks.kind import Config, Given, Kind, Label, Same, Size, Told, channels, cut
from dimbench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

THOUSAND = 1000  # timesteps of a diffusion, by which most flow networks are told the share of noise
_CLIP_TOKENS = 77


def first(output: tuple[Tensor, ...], x: Tensor) -> Tensor:
    """The estimate alone where a network also gives a variance."""
    return output[0][:, : x.shape[1]]


def full(tokens: int) -> Same:
    """The mask of a text without padding."""
    return Same([1.0] * tokens)


def _dit_told(config: Config, size: Size) -> Told:
    classes = config["num_embeds_ada_norm"]
    return {"class_labels": Label(classes, null=classes)}


def _dit(model: nn.Module, x: Tensor, t: Tensor, given: Given) -> Tensor:
    return first(model(x, timestep=t, class_labels=given["class_labels"], return_dict=False), x)


def _unet_told(config: Config, size: Size) -> Told:
    return {"class_labels": Label(config["num_class_embeds"])} if config["num_class_embeds"] else {}


def _unet(model: nn.Module, x: Tensor, t: Tensor, given: Given) -> Tensor:
    return first(model(x, t, **given, return_dict=False), x)


def _text_unet_told(config: Config, size: Size) -> Told:
    width = config["encoder_hid_dim"] or config["cross_attention_dim"]
    told: dict[str, Any] = {"encoder_hidden_states": (size.text_tokens, width if isinstance(width, int) else width[0])}
    if config["addition_embed_type"] == "text_time":
        times = 6 * config["addition_time_embed_dim"]
        told["text_embeds"] = (config["projection_class_embeddings_input_dim"] - times,)
        told["time_ids"] = Same([*size.resolution, 0.0, 0.0, *size.resolution])  # original size, crop, wanted size
    elif config["addition_embed_type"] or config["class_embed_type"] or config["num_class_embeds"]:
        raise UsageError(
            f"a UNet2DConditionModel with addition_embed_type {config['addition_embed_type']!r} and class_embed_type "
            f"{config['class_embed_type']!r} is not known here; give its inputs with --input"
        )
    return told


def _text_unet(model: nn.Module, x: Tensor, t: Tensor, given: Given) -> Tensor:
    added = {name: given[name] for name in ("text_embeds", "time_ids") if name in given}
    text = given["encoder_hidden_states"]
    return first(model(x, t, encoder_hidden_states=text, added_cond_kwargs=added or None, return_dict=False), x)


def _pixart_told(config: Config, size: Size) -> Told:
    told: dict[str, Any] = {
        "encoder_hidden_states": (size.text_tokens, config["caption_channels"] or config["cross_attention_dim"]),
        "encoder_attention_mask": full(size.text_tokens),
    }
    sized = config["use_additional_conditions"]
    if config["sample_size"] == 128 if sized is None else sized:  # as the class decides
        height, width = size.resolution
        told |= {"resolution": Same([height, width]), "aspect_ratio": Same([height / width])}
    return told


def _pixart(model: nn.Module, x: Tensor, t: Tensor, given: Given) -> Tensor:
    output = model(
        x,
        encoder_hidden_states=given["encoder_hidden_states"],
        encoder_attention_mask=given["encoder_attention_mask"],
        timestep=t,
        added_cond_kwargs={name: given.get(name) for name in ("resolution", "aspect_ratio")},
        return_dict=False,
    )
    return first(output, x)


def _hunyuan_told(config: Config, size: Size) -> Told:
    clip, t5 = config["text_len"], config["text_len_t5"]
    told: dict[str, Any] = {
        "encoder_hidden_states": (clip, config["cross_attention_dim"]),
        "text_embedding_mask": full(clip),
        "encoder_hidden_states_t5": (t5, config["cross_attention_dim_t5"]),
        "text_embedding_mask_t5": full(t5),
    }
    if config["use_style_cond_and_image_meta_size"]:
        told |= {"image_meta_size": Same([*size.resolution, *size.resolution, 0.0, 0.0]), "style": Same(0)}
    return told


def _hunyuan(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
    patch = model.config.patch_size
    grid = (x.shape[2] // patch, x.shape[3] // patch)
    angles = packing.rotary_2d(model.inner_dim // model.num_heads, grid, 64 // patch, x.device)
    return first(model(x, t.to(x.dtype), **given, image_rotary_emb=angles, return_dict=False), x)


def _sd3_told(config: Config, size: Size) -> Told:
    return {
        "encoder_hidden_states": (size.text_tokens, config["joint_attention_dim"]),
        "pooled_projections": (config["pooled_projection_dim"],),
    }


def flow(model: nn.Module, x: Tensor, t: Tensor, given: Given) -> Tensor:
    """The velocity towards the data, of a network that is told the share of noise in thousandths."""
    return -model(x, timestep=THOUSAND * (1 - t), **given, return_dict=False)[0]


def _packed(config: Config, size: Size) -> tuple[int, ...]:
    return (channels(config) // packing.PATCH**2, *cut(size, packing.PATCH))


def _qwen_packed(config: Config, size: Size) -> tuple[int, ...]:
    return (
        config["in_channels"] // packing.PATCH**2,
        *cut(size, packing.PATCH),
    )  # its out_channels are those of a latent


def _flux_told(config: Config, size: Size) -> Told:
    return {**_sd3_told(config, size), **_guidance(config, size)}


def _guidance(config: Config, size: Size) -> dict[str, Any]:
    return {"guidance": Same(size.guidance)} if config["guidance_embeds"] else {}


def _flux(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
    return _on_tokens(model, x, t, given, axes=len(model.config.axes_dims_rope), counted=False)


def _flux2_told(config: Config, size: Size) -> Told:
    return {"encoder_hidden_states": (size.text_tokens, config["joint_attention_dim"]), **_guidance(config, size)}


def _flux2(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
    return _on_tokens(model, x, t, given, axes=len(model.config.axes_dims_rope), counted=True)


def _on_tokens(model: Any, x: Tensor, t: Tensor, given: Given, axes: int, counted: bool) -> Tensor:
    height, width = x.shape[2] // packing.PATCH, x.shape[3] // packing.PATCH
    output = model(
        packing.pack(x),
        timestep=1 - t,
        img_ids=packing.grid_ids(height, width, axes, x.device),
        txt_ids=packing.text_ids(given["encoder_hidden_states"].shape[1], axes, counted, x.device),
        **given,
        return_dict=False,
    )
    return -packing.unpack(output[0], x)


def _qwen(model: nn.Module, x: Tensor, t: Tensor, given: Given) -> Tensor:
    shape = (1, x.shape[2] // packing.PATCH, x.shape[3] // packing.PATCH)
    output = model(packing.pack(x), timestep=1 - t, img_shapes=[[shape]] * len(x), **given, return_dict=False)
    return -packing.unpack(output[0], x)


def _sana_told(config: Config, size: Size) -> Told:
    return {
        "encoder_hidden_states": (size.text_tokens, config["caption_channels"]),
        "encoder_attention_mask": full(size.text_tokens),
        **_guidance(config, size),
    }


def _sana(model: Any, x: Tensor, t: Tensor, given: Given) -> Tensor:
    times = THOUSAND * (1 - t) * model.config.timestep_scale
    return -model(x, timestep=times, **given, return_dict=False)[0]


def _lumina_told(config: Config, size: Size) -> Told:
    return {"encoder_hidden_states": (size.text_tokens, config["cap_feat_dim"])}


def _lumina(model: nn.Module, x: Tensor, t: Tensor, given: Given) -> Tensor:
    import torch

    # The class reads the lengths of the texts from the mask's values, which the meta device has none of.
    text = given["encoder_hidden_states"]
    mask = torch.ones(text.shape[:2], dtype=torch.bool, device="cpu" if x.is_meta else x.device)
    return model(x, t, text, mask, return_dict=False)[0]


def _aura_told(config: Config, size: Size) -> Told:
    return {"encoder_hidden_states": (size.text_tokens, config["joint_attention_dim"])}


def _aura(model: nn.Module, x: Tensor, t: Tensor, given: Given) -> Tensor:
    return -model(x, timestep=1 - t, **given, return_dict=False)[0]


def _z_image(model: nn.Module, x: Tensor, t: Tensor, given: Given) -> Tensor:
    import torch

    output = model(list(x.unsqueeze(2)), t, list(given["encoder_hidden_states"]), return_dict=False)
    return torch.stack(output[0]).squeeze(2)


KINDS = {
    "DiTTransformer2DModel": Kind(_dit_told, _dit),
    "UNet2DModel": Kind(_unet_told, _unet),
    "UNet2DConditionModel": Kind(_text_unet_told, _text_unet),
    "PixArtTransformer2DModel": Kind(_pixart_told, _pixart),
    "HunyuanDiT2DModel": Kind(_hunyuan_told, _hunyuan),
    "SD3Transformer2DModel": Kind(_sd3_told, flow),
    "FluxTransformer2DModel": Kind(_flux_told, _flux, _packed),
    "Flux2Transformer2DModel": Kind(_flux2_told, _flux2, _packed),
    "QwenImageTransformer2DModel": Kind(_flux2_told, _qwen, _qwen_packed),
    "SanaTransformer2DModel": Kind(_sana_told, _sana),
    "Lumina2Transformer2DModel": Kind(_lumina_told, _lumina),
    "AuraFlowTransformer2DModel": Kind(_aura_told, _aura),
    "ZImageTransformer2DModel": Kind(_lumina_told, _z_image),
}
