"""Networks of diffusers: each class as its pipeline calls it, each preset as it is published."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dimbench import diffusers_networks as networks
from dimbench import presets
from dimbench.counting import parameters
from dimbench.counting.bill import trace
from dimbench.counting.rules import RULES
from dimbench.diffusers_networks import Kind, Size, packing
from dimbench.errors import DimbenchError, UsageError
from dimbench.meta import shapes_only
from dimbench.papers import figures
from dimbench.presets import Preset
from tests.models.small_diffusers import DIRECT, SMALL

PRESETS = [preset for preset in presets.all_presets().values() if preset.backbone.startswith("diffusers:")]
ROWS = (3, 5)
# bfloat16 keeps 8 bits, and a guidance of 6000 loses the last whole ones before its sine is taken, as in the pipeline.
HALF_TOLERANCE = 0.1
# What is printed and does not agree, and why.
DIFFER = {
    "dit-xl2-diffusers": "the class keeps the embeddings of time and label once per block",
    "wan2.1-1.3b": "its configuration has 1.42 billion",
}


def small(name: str) -> tuple[Kind, nn.Module, dict[str, Any], Size]:
    config, size = SMALL[name]
    torch.manual_seed(0)
    return networks.find(name), networks.build(name, config), networks.settings(name, config), size


def inputs(kind: Kind, config: dict[str, Any], size: Size) -> tuple[Tensor, Tensor]:
    x = torch.randn(len(ROWS), *kind.state(config, size), generator=torch.Generator().manual_seed(1))
    return x, torch.tensor([0.25, 0.75])


class Running(nn.Module):
    """A network with what it is told bound."""

    def __init__(self, kind: Kind, model: nn.Module, given: networks.Given) -> None:
        super().__init__()
        self.kind, self.model, self.given = kind, model, given

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.kind.call(self.model, x, t, self.given)


def test_every_known_class_is_tested() -> None:
    assert set(SMALL) == set(DIRECT) == set(networks.KINDS)


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_a_call_is_the_one_of_diffusers_own_pipeline(name: str) -> None:
    kind, model, config, size = small(name)
    x, t = inputs(kind, config, size)
    given = kind.given(config, size, ROWS)
    output = kind.call(model, x, t, given)
    assert output.shape == x.shape
    assert output.isfinite().all()
    assert torch.equal(output, DIRECT[name](model, x, t, given))


@pytest.mark.parametrize("grid", [(4, 6), (6, 4), (8, 16), (16, 8), (5, 5), (9, 2)])
def test_grids_lie_where_the_pipelines_lay_them(grid: tuple[int, int]) -> None:
    from diffusers.pipelines.cogvideo import pipeline_cogvideox
    from diffusers.pipelines.hunyuandit import pipeline_hunyuandit

    assert packing.fitted(grid, (4, 9)) == pipeline_cogvideox.get_resize_crop_region_for_grid(grid, 9, 4)
    assert packing.fitted(grid, (32, 32)) == pipeline_hunyuandit.get_resize_crop_region_for_grid(grid, 32)


@pytest.mark.parametrize("name", SMALL)
def test_what_is_told_belongs_to_the_row(name: str) -> None:
    kind, _, config, size = small(name)
    both, one = kind.given(config, size, ROWS), kind.given(config, size, ROWS[1:])
    if name == "UNet2DModel":
        with pytest.raises(UsageError, match="no label for 'no class'"):
            kind.given(config, size, ROWS, null=True)
        return
    null, other = kind.given(config, size, ROWS, null=True), kind.given(config, size, (7, 8), null=True)
    for key, value in both.items():
        assert len(value) == len(ROWS), key
        assert torch.equal(value[1:], one[key]), key
        assert torch.equal(null[key], other[key]), key
    assert any(not torch.equal(both[key][0], both[key][1]) for key in both)
    assert any(not torch.equal(both[key], null[key]) for key in both)


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_half_precision_follows_the_latents(name: str) -> None:
    kind, model, config, size = small(name)
    x, t = inputs(kind, config, size)
    given = kind.given(config, size, ROWS)
    full = kind.call(model, x, t, given)
    half = kind.call(model.bfloat16(), x.bfloat16(), t, given)
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).norm() <= HALF_TOLERANCE * full.norm()


@pytest.mark.parametrize("name", SMALL)
def test_shapes_alone_count_as_values_do(name: str) -> None:
    kind, model, config, size = small(name)
    x, t = inputs(kind, config, size)
    real = trace(Running(kind, model, kind.given(config, size, ROWS)), {"x": x, "t": t}, len(ROWS))
    with shapes_only():
        model = networks.build(name, SMALL[name][0])
        running = Running(kind, model, kind.given(config, size, ROWS, "meta"))
    bill = trace(running, {"x": x.to("meta"), "t": t.to("meta")}, len(ROWS))
    assert RULES["macs"].macs(bill) == RULES["macs"].macs(real) > 0


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_a_preset_is_the_network_that_was_published(preset: Preset) -> None:
    name, size = preset.backbone.partition(":")[2], networks.size_of(preset)
    kind, config = networks.find(name), networks.settings(name, preset.config)
    with shapes_only():
        model = networks.build(name, preset.config)
        x, t = torch.empty(1, *kind.state(config, size)), torch.empty(1)
        running = Running(kind, model, kind.given(config, size, (0,), "meta"))
    bill = trace(running, {"x": x, "t": t}, 1)
    assert RULES["macs"].macs(bill) > 0
    assert preset.sampling["steps"] > 0
    space = networks.latent_space(preset.conditions["autoencoder"])
    assert (space.stride, space.channels) == (preset.latent_stride, x.shape[1])
    for claim in preset.claims:
        figure = figures.read(claim.params)
        assert figure
        numbers = parameters.count(model)
        fixed = numbers["params_fixed"] + parameters.tables(model)
        number = numbers["params"] + (fixed if claim.params_rule == "all" else 0)
        assert bool(figure.reading(number)) == (preset.name not in DIFFER), (number, claim)


def test_presets_of_every_kind_of_picture_and_clip() -> None:
    assert {preset.backbone.partition(":")[2] for preset in PRESETS} == set(networks.KINDS) - {"UNet2DModel"}


def test_a_size_follows_the_resolution_asked_for() -> None:
    wan = presets.find("wan2.1-1.3b")
    assert networks.size_of(wan).latent == (60, 104)
    assert networks.size_of(wan, 240, 17).latent == (30, 52)
    assert networks.size_of(wan, 240, 17).latent_frames == 5
    assert networks.size_of(wan, 472).latent == (59, 102)  # 818 pixels would be half a token
    assert networks.size_of(presets.find("sdxl"), 512).latent == (64, 64)
    with pytest.raises(UsageError, match="positive multiples of 8"):
        _ = networks.size_of(wan, 100).latent
    with pytest.raises(UsageError, match="1 more than a multiple of 4"):
        _ = networks.size_of(wan, 480, 80).latent_frames


@pytest.mark.parametrize("name", sorted({preset.conditions["autoencoder"] for preset in PRESETS}))
def test_a_decoder_gives_the_pixels_its_latents_stand_for(name: str) -> None:
    space = networks.latent_space(name)
    size = space.size((64, 128), frames=1 + 2 * space.temporal_stride)
    with shapes_only(), torch.no_grad():
        model = space.build()
        picture = space.decode(model, torch.empty(1, space.channels, *size.latent))
        clip = space.decode(model, torch.empty(1, space.channels, size.latent_frames, *size.latent))
    assert picture.shape == (1, 3, 64, 128)
    assert clip.shape == (1, 3, size.frames, 64, 128)


def test_a_folder_that_diffusers_wrote_is_read_back(tmp_path: Path) -> None:
    _, model, config, _ = small("SanaTransformer2DModel")
    model.save_pretrained(tmp_path / "pipeline" / "transformer")
    for place in ("pipeline", "pipeline/transformer", "pipeline/transformer/config.json"):
        name, read = networks.read_config(tmp_path / place)
        assert name == "SanaTransformer2DModel"
        assert networks.settings(name, read) == {**config, "timestep_scale": 0.5}
    again = networks.build(name, read)
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}


def test_settings_of_an_older_diffusers_are_read(tmp_path: Path) -> None:
    written = {
        "_class_name": "Transformer2DModel", "_diffusers_version": "0.22.0", "norm_type": "ada_norm_single",
        "num_vector_embeds": None, "use_linear_projection": False, "decay": 0.9999, "num_layers": 2,
        "attention_head_dim": 12, "num_attention_heads": 2, "cross_attention_dim": 24, "caption_channels": 12,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(written))
    name, config = networks.read_config(tmp_path)
    assert name == "PixArtTransformer2DModel"
    assert networks.build(name, config).config.num_layers == 2


@pytest.mark.parametrize(
    ("name", "config", "says"),
    [
        ("DiTransformer2DModel", {}, "has no network 'DiTransformer2DModel'; did you mean .*DiTTransformer2DModel"),
        ("DDIMScheduler", {}, "has no network 'DDIMScheduler'"),
        ("DiTTransformer2DModel", {"num_layer": 2}, "has no setting 'num_layer'; did you mean num_layers"),
        (
            "DiTTransformer2DModel",
            {"rope": True, "_diffusers_version": "99.0"},
            "has no setting 'rope' in diffusers .*; 99.0 wrote them: install that or a newer one",
        ),
        ("DiTTransformer2DModel", {"norm_type": "layer_norm"}, "cannot build .*NotImplementedError"),
        ("DiTTransformer2DModel", {"num_layers": "two"}, "cannot build .*TypeError"),
    ],
)
def test_what_cannot_be_built_is_said_in_a_sentence(name: str, config: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        networks.build(name, config)
    assert "\n" not in str(caught.value)


def test_a_class_whose_call_is_not_known_asks_for_its_inputs() -> None:
    with pytest.raises(UsageError, match="did you mean SD3Transformer2DModel"):
        networks.find("SD3Transformer2DModle")
    with pytest.raises(UsageError, match="--input"):
        networks.find("Kandinsky3UNet")
    inpainting = networks.settings("UNet2DConditionModel", {"in_channels": 9, "out_channels": 4})
    with pytest.raises(UsageError, match="9 input and 4 output channels"):
        networks.find("UNet2DConditionModel").state(inpainting, Size((64, 64)))


@pytest.mark.parametrize("text", ["", "[]", "{}", "not JSON"])
def test_a_config_without_a_class_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DimbenchError, match="expected a config"):
        networks.read_config(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(DimbenchError, match="names no class of diffusers"):
        networks.read_config(tmp_path)


def test_nothing_heavy_is_loaded_before_a_network_is_asked_for() -> None:
    script = (
        "import sys, dimbench, dimbench.diffusers_networks as networks\n"
        "networks.find('WanTransformer3DModel'); networks.latent_space('sd')\n"
        "assert not {'torch', 'diffusers', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
