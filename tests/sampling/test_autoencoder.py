from __future__ import annotations

import json
import re
import socket
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dimbench.diffusers_networks import latent_space
from dimbench.errors import DimbenchError, UsageError
from dimbench.sampling import autoencoder, compvis, decoding
from tests.sampling.autoencoders import old_layout, small

LATENTS = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(1))
SD = latent_space("sd-vae-ft-ema")


def test_a_folder_and_the_old_layouts_are_one_autoencoder(tmp_path: Path) -> None:
    network = small()
    network.save_pretrained(tmp_path)
    expected = network.decode(LATENTS / 0.18215).sample
    bare = old_layout(network.state_dict())
    whole = {f"first_stage_model.{name}": tensor for name, tensor in bare.items()}
    whole |= {"model.diffusion_model.out.weight": torch.ones(2), "betas": torch.ones(1)}
    found = [decoding.load(str(tmp_path)), autoencoder.from_state(bare), autoencoder.from_state(whole)]
    for one in found:
        # three images at once or alone: rounding of convolutions of other sizes
        assert torch.allclose(one.decode(LATENTS), expected, atol=1e-5)
        one.check(4, 8, SD)
    assert len({one.fingerprint for one in found}) == 1
    assert found[0].fingerprint != autoencoder.from_state(old_layout(small(seed=1).state_dict())).fingerprint


def test_old_names_are_those_of_latent_diffusion() -> None:
    """Names as they stand in the published sd-v1-4 and vae-ft-ema checkpoints, which have four levels."""
    names = {
        "decoder.up.3.block.0.norm1.weight": "decoder.up_blocks.0.resnets.0.norm1.weight",
        "decoder.up.1.block.0.nin_shortcut.bias": "decoder.up_blocks.2.resnets.0.conv_shortcut.bias",
        "decoder.up.1.upsample.conv.weight": "decoder.up_blocks.2.upsamplers.0.conv.weight",
        "decoder.up.0.block.2.conv2.weight": "decoder.up_blocks.3.resnets.2.conv2.weight",
        "encoder.down.2.block.1.conv1.bias": "encoder.down_blocks.2.resnets.1.conv1.bias",
        "encoder.down.0.downsample.conv.bias": "encoder.down_blocks.0.downsamplers.0.conv.bias",
        "encoder.mid.attn_1.norm.weight": "encoder.mid_block.attentions.0.group_norm.weight",
        "encoder.mid.attn_1.proj_out.bias": "encoder.mid_block.attentions.0.to_out.0.bias",
        "decoder.mid.block_2.conv1.weight": "decoder.mid_block.resnets.1.conv1.weight",
        "encoder.norm_out.weight": "encoder.conv_norm_out.weight",
        "quant_conv.weight": "quant_conv.weight",
    }
    levels = {"decoder.up.2.block.0.conv1.bias": torch.zeros(1)}
    found = compvis.converted({**{name: torch.zeros(1) for name in names}, **levels, "loss.logvar": torch.zeros(1)})
    assert set(found) == {*names.values(), "decoder.up_blocks.1.resnets.0.conv1.bias"}


def test_encoding_samples_the_posterior() -> None:
    network = small()
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    noise = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(3))
    posterior = network.encode(images).latent_dist
    ours = autoencoder.Autoencoder(network)
    assert torch.allclose(ours.encode(images, 0 * noise), 0.18215 * posterior.mean, atol=1e-5)
    expected = 0.18215 * (posterior.mean + posterior.std * noise)
    assert torch.allclose(ours.encode(images, noise), expected, atol=1e-5)


def test_latents_normalised_by_channel_become_bare_again() -> None:
    bare = torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    mean, std = [0.5, -1.0], [2.0, 4.0]
    normal = (bare - torch.tensor(mean).view(2, 1, 1)) / torch.tensor(std).view(2, 1, 1)
    by_channel = autoencoder.by_channel(mean, std)
    torch.testing.assert_close(by_channel.bare(normal), bare)
    torch.testing.assert_close(by_channel.of(bare), normal)


def test_batches_are_cut_to_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = autoencoder.Autoencoder(small())
    whole, sizes, decode = ours.decode(LATENTS), [], ours.network.decode
    monkeypatch.setattr(autoencoder, "_PIXELS", 2 * 16 * 16)
    monkeypatch.setattr(ours.network, "decode", lambda x: sizes.append(len(x)) or decode(x))
    assert torch.allclose(ours.decode(LATENTS), whole, atol=1e-5)
    assert sizes == [2, 1]


def test_bfloat16_is_near_float32() -> None:
    whole = autoencoder.Autoencoder(small()).decode(LATENTS)
    half = autoencoder.Autoencoder(small()).to("cpu", torch.bfloat16).decode(LATENTS)
    assert half.dtype == torch.float32
    assert 0 < (half - whole).abs().max() < 0.05 * whole.abs().max()  # bfloat16 keeps 8 bits: 0.4 % per operation


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"latent_channels": 8}, "8 latent channels"),
        ({"levels": 3}, "one side per 4 pixels"),
        ({"scaling_factor": 0.13025}, "normalised times 0.13025"),
    ],
)
def test_the_autoencoder_of_another_network_is_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(DimbenchError, match=re.escape(words)):
        autoencoder.Autoencoder(small(**settings)).check(4, 8, SD)


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if key != name}


def test_files_that_hold_none_are_named(tmp_path: Path) -> None:
    bare = old_layout(small().state_dict())
    with pytest.raises(DimbenchError, match=r"its first is blocks\.0"):
        autoencoder.from_state({"blocks.0": torch.ones(1)})
    with pytest.raises(DimbenchError, match=r"1 weights .* decoder\.conv_out\.bias first"):
        autoencoder.from_state(without(bare, "decoder.conv_out.bias"))
    with pytest.raises(DimbenchError, match=r"post_quant_conv\.weight"):
        autoencoder.from_state(without(bare, "post_quant_conv.weight"))
    with pytest.raises(DimbenchError, match=r"encoder\.conv_in\.weight first"):
        autoencoder.from_state({**bare, "encoder.conv_in.weight": torch.ones(1)})
    with pytest.raises(DimbenchError, match="holds no file of weights"):
        decoding.load(str(tmp_path))


def test_a_folder_that_lacks_weights_is_not_filled_at_random(tmp_path: Path) -> None:
    small().save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file(without(load_file(file), "decoder.conv_out.bias"), file, {"format": "pt"})
    with pytest.raises(DimbenchError, match=r"decoder\.conv_out\.bias"):
        decoding.load(str(tmp_path))


def saved(folder: Path, network: Any, **how: Any) -> Path:
    network.save_pretrained(folder, **how)
    return folder


def test_every_place_of_an_autoencoder_gives_the_same_images(tmp_path: Path) -> None:
    network = small()
    expected = network.decode(LATENTS / 0.18215).sample
    plain = saved(tmp_path / "plain", network)
    saved(tmp_path / "pipe" / "vae", network)
    (tmp_path / "pipe" / "model_index.json").write_text("{}")
    state = network.state_dict()
    save_file(state, tmp_path / "single.bin")
    torch.save({"state_dict": {f"vae.{name}": tensor for name, tensor in state.items()}}, tmp_path / "single.ckpt")
    older = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    names = {name: reduce(lambda word, pair: word.replace(*pair), older.items(), name) for name in state}
    assert names != {name: name for name in state}
    torch.save({names[name]: tensor for name, tensor in state.items()}, tmp_path / "older.pt")
    parts = saved(tmp_path / "parts", network, max_shard_size="100KB")
    assert len(list(parts.glob("*.safetensors"))) > 1
    for place in (
        plain,
        tmp_path / "pipe",
        tmp_path / "single.bin",
        tmp_path / "single.ckpt",
        tmp_path / "older.pt",
        parts,
    ):
        assert torch.allclose(decoding.load(str(place)).decode(LATENTS), expected, atol=1e-5), place


def test_a_variant_in_half_precision_is_near_and_computes_in_float32(tmp_path: Path) -> None:
    network = small()
    expected = network.decode(LATENTS / 0.18215).sample
    found = decoding.load(str(saved(tmp_path, small().half(), variant="fp16"))).decode(LATENTS)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.01 * expected.abs().max()  # float16 keeps 11 bits: 0.05 % per weight


def test_an_autoencoder_of_another_class_or_with_false_settings_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, small())
    config = tmp_path / "config.json"
    whole = json.loads(config.read_text())
    config.write_text(json.dumps({**whole, "_class_name": "AutoencoderTiny"}))
    with pytest.raises(DimbenchError, match=r"is of a AutoencoderTiny, not of one of AutoencoderKL, "):
        decoding.load(str(tmp_path))
    for false in ({"block_out_channels": "x"}, {"norm_num_groups": 0}, {"layers_per_block": 2}):
        config.write_text(json.dumps({**whole, **false}))
        with pytest.raises(DimbenchError) as caught:
            decoding.load(str(tmp_path))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["vae/typo", "typo", "hf:typo", "hf:a/b/../c"])
def test_names_of_nothing_are_refused_before_anything_is_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it went to the network"))
    with pytest.raises(UsageError, match="hf:owner/name"):
        decoding.missing(name)
    with pytest.raises(DimbenchError):
        decoding.load(name)


def test_a_name_of_the_hub_is_looked_for_in_the_cache_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it went to the network"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    (wanted,) = decoding.missing("hf:owner/name/vae")
    assert "dimbench weights fetch hf:owner/name/vae" in wanted
    with pytest.raises(DimbenchError, match="weights fetch hf:owner/name/vae"):
        decoding.load("hf:owner/name/vae")
    home = tmp_path / "models--owner--name"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("0" * 40)
    saved(home / "snapshots" / ("0" * 40) / "vae", small())
    assert decoding.missing("hf:owner/name/vae") == []
    assert decoding.load("hf:owner/name/vae").fingerprint == autoencoder.Autoencoder(small()).fingerprint


def test_decoding_is_counted_as_torch_counts_it() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        decoder = autoencoder.LatentDecoder(SD)
        with FlopCounterMode(display=False) as counter:
            decoder(torch.empty(1, 4, 32, 32))
    assert 2 * decoding.macs((4, 32, 32), SD) == counter.get_total_flops()
