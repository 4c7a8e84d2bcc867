"""Networks of diffusers behind the one way in: presets, classes, folders, the hub's cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dimbench import backbone as backbones
from dimbench import presets
from dimbench.bench import subject
from dimbench.bench.rows import Row
from dimbench.counting.costs import count
from dimbench.errors import DimbenchError, UsageError
from dimbench.from_diffusers import FromDiffusers
from dimbench.sampling import decoding
from dimbench.sampling.image_cost import image_cost, settings_of
from dimbench.sampling.request import Request
from tests.models.small_diffusers import SMALL

DIT = "diffusers:DiTTransformer2DModel,num_layers=1,num_attention_heads=2,attention_head_dim=12,sample_size=8"


def found(what: str, resolution: int | None = None) -> FromDiffusers:
    backbone = backbones.find(what, resolution)
    assert isinstance(backbone, FromDiffusers)
    return backbone


def test_a_preset_is_drawn_at_its_own_size_or_another() -> None:
    wan = found("wan2.1-1.3b")
    assert wan.state == (16, 21, 60, 104)
    assert wan.conditions == {
        "resolution": 480, "width": 832, "frames": 81, "text_tokens": 512, "autoencoder": "wan2.1",
    }  # fmt: skip
    assert found("wan2.1-1.3b", 240).state == (16, 21, 30, 52)
    assert found("wan2.1-1.3b", 240).conditions["width"] == 416
    assert backbones.find(wan.text).name == wan.name == "wan2.1-1.3b"


def test_one_side_of_a_square_is_both_and_what_patches_cannot_divide_is_refused() -> None:
    assert backbones.find("sd-v1-5", 520).state == (4, 65, 65)
    for name in ("sd3-medium", "latte-1", "flux1-dev", "qwen-image", "z-image-turbo"):
        with pytest.raises(UsageError, match="a latent of 33 x 33 cannot be cut into patches of 2; give sides that"):
            _ = backbones.find(name, 264).state
    with pytest.raises(UsageError, match="a latent of 34 x 33 cannot be cut into patches of 2"):
        _ = backbones.find("wan2.1-1.3b", "272x264").state


def test_a_clip_has_the_frames_asked_for() -> None:
    def long(what: str, frames: int) -> backbones.Backbone:
        return backbones.find(what, frames=frames)

    assert long("wan2.1-1.3b", 41).state == (16, 11, 60, 104)
    assert long("wan2.1-1.3b", 41).conditions["frames"] == 41
    assert long("ltx-video-2b", 9).state[1] == 2
    assert long("latte-1,video_length=24", 24).state[1] == 24
    for what, frames, said in [
        ("wan2.1-1.3b", 40, "40 frames do not fit latents of one frame per 4"),
        ("wan2.1-1.3b", 0, "0 frames do not fit"),
        ("latte-1", 24, "--set video_length=24"),
        ("sana-0.6b", 5, "--frames 5 has no meaning for sana-0.6b"),
        ("dit-s2", 5, "--frames 5 has no meaning for dit-s2"),
    ]:
        with pytest.raises(UsageError, match=said):
            long(what, frames)


def test_a_folder_s_weights_are_those_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import DiTTransformer2DModel

    monkeypatch.chdir(tmp_path)
    saved = DiTTransformer2DModel(**SMALL["DiTTransformer2DModel"][0])
    saved.save_pretrained("mine")
    (tmp_path / "other").mkdir()
    bare = found("mine")
    x, t, given = backbones.example(bare, 2)
    with torch.no_grad():
        expected = bare.call(saved.eval(), x, t, given)
    for file, same in (("mine", True), ("mine/config.json", True), (None, False)):
        row = Row(file or "mine", random_weights=file is None)
        assert subject.weights_of(row, found(row.model)) == ("mine" if same else None)
        with torch.no_grad(), monkeypatch.context() as patch:
            patch.setattr(backbones, "example", lambda *_: (x, t, given))
            assert torch.equal(subject.build(row, found(row.model), 2).call(), expected) == same
    asked = Request(backbone=bare, num_images=1, steps=2)
    assert asked.checkpoint == Path("mine")
    assert asked.missing() == decoding.missing("ft-ema")
    (tmp_path / "mine" / "diffusion_pytorch_model.safetensors").unlink()
    assert "of which mine holds none" in asked.missing()[0]
    with pytest.raises(DimbenchError, match="mine holds no weights; give --weights, or time it with --random-weights"):
        subject.weights_of(Row("mine"), bare)
    assert presets.anywhere("mine,num_layers=2") == f"{tmp_path}/mine,num_layers=2"
    with pytest.raises(DimbenchError, match="other is no folder of diffusers"):
        backbones.find("other")
    (tmp_path / "other" / "config.json").write_text('{"_class_name": "DiTTransformer3DModel"}')
    with pytest.raises(UsageError, match="has no network 'DiTTransformer3DModel'; did you mean"):
        count(found("other"))


def test_a_class_takes_settings_and_what_its_kin_are_told() -> None:
    sana = found("diffusers:SanaTransformer2DModel,num_layers=2,qk_norm=rms_norm_across_heads")
    assert sana.all_settings["num_layers"] == 2
    assert sana.state == (32, 32, 32)
    assert sana.conditions["text_tokens"] == 300
    assert count(sana).params["params"] < count("sana-0.6b").params["params"]
    with pytest.raises(UsageError, match="did you mean num_layers"):
        count(found("diffusers:SanaTransformer2DModel,num_layer=2"))


def test_a_text_that_is_not_projected_is_as_wide_as_its_attention() -> None:
    pixart = found("diffusers:PixArtTransformer2DModel,cross_attention_dim=48")
    assert pixart.given([0], "meta")["encoder_hidden_states"].shape[-1] == 48


def test_a_class_conditional_network_is_guided_and_labelled() -> None:
    dit = found(DIT)
    assert dit.classes == backbones.Classes(1000, 1000)
    assert dit.given((3, 1004))["class_labels"].tolist() == [3, 4]
    assert dit.given((3, 4), null=True)["class_labels"].tolist() == [1000, 1000]
    assert dit.labelled(lambda row: 7).given((3, 4))["class_labels"].tolist() == [7, 7]
    x, t, given = backbones.example(dit, 2)
    with torch.no_grad():
        assert dit.call(backbones.created(dit), x, t, given).shape == (2, 4, 8, 8)


def test_a_folder_and_the_hub_s_cache_hold_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--somebody--unet" / "snapshots" / ("0" * 40)
    (snapshot.parent.parent / "refs").mkdir(parents=True)
    (snapshot.parent.parent / "refs" / "main").write_text("0" * 40)
    settings, _ = SMALL["UNet2DModel"]
    from diffusers import UNet2DModel

    UNet2DModel(**settings).save_pretrained(snapshot / "unet")
    for what in (str(snapshot), str(snapshot / "unet" / "config.json"), "hf:somebody/unet"):
        assert found(what).state == (3, 16, 16)
        assert count(found(what)).macs("macs") > 0
    with pytest.raises(DimbenchError, match="not in the hub's cache"):
        backbones.find("hf:somebody/else")
    with pytest.raises(DimbenchError, match="is no folder of diffusers"):
        backbones.find(str(tmp_path))


def test_inputs_that_are_given_go_before_those_that_are_known() -> None:
    own = backbones.find(
        "diffusers:DiTTransformer2DModel,num_layers=1,num_attention_heads=2,attention_head_dim=12",
        inputs=("hidden_states=4x32x32", "timestep=scalar:int64", "class_labels=scalar:int64"),
    )
    assert not isinstance(own, FromDiffusers)
    assert own.state == (4, 32, 32)


@pytest.mark.parametrize(("name", "cfg"), [("sana-0.6b", 4.5), ("latte-1", 7.5), ("wan2.1-1.3b", 1.0)])
def test_a_picture_or_clip_costs_its_passes_and_its_decoder(name: str, cfg: float) -> None:
    backbone = found(name)
    whole = image_cost(backbone, settings_of(backbone, None, 3, cfg), decoded=True)
    network = whole.passes * count(backbone).macs("macs")
    assert whole.passes == whole.calls * (1 if cfg == 1 else 2)
    assert whole.decode_macs("macs") > 0
    assert whole.macs("macs") == network + whole.decode_macs("macs")
