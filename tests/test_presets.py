from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import dimbench
from dimbench import backbone, preset_files, presets
from dimbench.diffusion import process
from dimbench.diffusion.flow import Flow
from dimbench.errors import DimbenchError, UsageError


@pytest.mark.parametrize("name", ["dit-xl2", "DiT-XL/2", "dit_xl2", "DITXL2", "dit xl/2"])
def test_case_and_separators_are_forgiven(name: str) -> None:
    assert presets.find(name).name == "dit-xl2"


def test_near_names_are_suggested() -> None:
    with pytest.raises(UsageError, match=r"did you mean .*dit-xl2"):
        presets.find("dit-xl3")


def test_wildcards_keep_order_and_doubles_away() -> None:
    found = [preset.name for preset in presets.match(["dimsum-l4*", "dit-s?", "DiT-S/2"])]
    assert found == ["dimsum-l4", "dimsum-l4-v1", "dit-s2", "dit-s4", "dit-s8"]


def test_a_dash_in_a_wildcard_is_one_where_names_have_it() -> None:
    assert {preset.family for preset in presets.match(["dim-*"])} == {"dim"}
    assert {preset.name for preset in presets.match(["DiT-XL/*"])} >= {"dit-xl2", "dit-xl4", "dit-xl8"}


def test_a_wildcard_with_a_colon_is_of_the_networks_classes() -> None:
    found = presets.chosen(["diffusers:*", "diffusers:Sana*,num_layers=2"])
    assert "flux1-dev" in found
    assert "sana-0.6b,num_layers=2" in found
    assert not any(presets.find(presets.split(name)[0]).is_native for name in found)


def test_a_wildcard_without_a_match_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"no model matches 'foo\*'"):
        presets.match(["foo*"])


def test_all_promised_names_exist() -> None:
    sizes = [f"{size}{patch}" for size in ("s", "b", "l", "xl") for patch in (2, 4, 8)]
    names = {f"{family}-{size}" for family in ("dit", "sit") for size in sizes}
    names |= {f"dit-xl2-{design}" for design in ("incontext", "crossattn", "adaln")}
    names |= {f"dimsum-{size}" for size in ("b2", "l2", "l2-v1", "xl2", "l4", "l4-v1")}
    assert names <= set(dimbench.list_models())
    assert set(dimbench.list_models("sit-*")) == {n for n in dimbench.list_models() if n.startswith("sit-")}


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ('{ fid = "1", source = "a", sampling = { steps = 5 } }', "a fid's sampling has no cfg"),
        ('{ fid = "1", source = "a", sampling = { cfg = 1.5 } }', "sampling has no sampler; .* sampling has no steps"),
        ('{ fid = "1", source = "a", sampling = { cfg = "none" } }', "a fid's sampling: cfg is no number"),
        ('{ fid = "1", source = "a", sampling = { step = 5 } }', "a fid's sampling: 'step' is unknown"),
        ('{ fid = "x", source = "a", sampling = { cfg = 1.5 } }', "fid 'x' is no number"),
        ('{ fid = "1", source = 1, sampling = { cfg = 1.5 } }', "recipes: source is no text"),
        ('{ fid = "1", source = "a", sampling = 3 }', "recipes: sampling is no table"),
    ],
)
def test_faults_of_a_recipe_are_named(recipe: str, said: str, tmp_path: Path) -> None:
    test_faults_of_a_preset_are_named(f'backbone = "sit"\n[variants.mine]\nrecipes = [{recipe}]\n', said, tmp_path)


@pytest.mark.parametrize(
    ("diffusion", "said"),
    [
        ('process = "flow", sampler = "euler", shfit = 3', "diffusion: 'shfit' is unknown"),
        ('process = "flow", sampler = "euler", shift = "x"', "diffusion: shift is no number"),
        ('process = "flow", sampler = "euler", cosine = 1', "diffusion: cosine is no true or false"),
        ('process = "flaw", sampler = "euler"', "process 'flaw' is unknown"),
        ('process = [1], sampler = "euler"', "process is no text"),
        ('sampler = "euler"', "diffusion has no process"),
        ('process = "flow", noise_at = 1, grid = "steps"', "flow does not read grid, which rectified-flow does"),
        ('process = "flow", sampler = "euler", guided_channels = -3', "guided_channels is -3, which has to be 0 or"),
        ('process = "transport"', "process 'transport' is unknown .known are gaussian, flow, rectified-flow"),
        ('process = "flow", sampler = "euler", guided_interval = { low = 1 }', "guided_interval has no high"),
        ('process = "flow", sampler = "euler", guided_interval = 3', "guided_interval is no table"),
    ],
)
def test_faults_of_what_a_network_was_trained_on_are_named(diffusion: str, said: str, tmp_path: Path) -> None:
    test_faults_of_a_preset_are_named(
        f'backbone = "dit"\n[variants.mine]\ndiffusion = {{ {diffusion} }}\n', said, tmp_path
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('backbone = "nope"\n[variants.mine]\n', "backbone 'nope' is no family of dimbench"),
        ('backbone = "sit"\nresolution = -3\n[variants.mine]\n', "resolution is -3, which is below 1"),
        ('backbone = "sit"\n[variants.mine]\nlatent_stride = 0\n', "variant mine: latent_stride is 0"),
        ('backbone = "sit"\n[variants."my-*"]\n', "its name holds one of"),
    ],
)
def test_faults_of_a_preset_are_named(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(DimbenchError, match=said):
        preset_files.read(file)


def test_what_a_process_can_be_told_may_stand_in_a_preset() -> None:
    processes = {
        process.find_process(preset_files.completed({"process": name})).__class__ for name in preset_files.PROCESSES
    }
    told = {field.name for each in processes for field in fields(each)} - {"samplers", "upsampling"}
    assert told <= preset_files._DIFFUSION.keys()


@pytest.mark.parametrize("word", preset_files.PROCESSES)
def test_a_word_for_a_process_means_the_same_in_a_preset_and_as_an_option(word: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'backbone = "torch.nn:Conv2d"\n[variants.mine]\ndiffusion = {{ process = "{word}" }}\n')
    (preset,) = preset_files.read(file)
    told = backbone.find("torch.nn:Identity", process=word).diffusion
    assert preset.diffusion == told
    made = process.find_process(told)
    assert told["sampler"] in made.samplers


def test_every_family_has_a_name_of_its_own() -> None:
    families = dict.fromkeys(preset.family for preset in presets.all_presets().values())
    labels = {presets.family_label(family): family for family in families}
    assert len(labels) == len(families)
    assert {"DiT", "SDXL", "LTX-Video", "Hunyuan-DiT", "diffusers PixArt-Sigma"} <= labels.keys()


def test_a_list_in_brackets_is_one_setting() -> None:
    assert presets.split("dico-s,depth=[1, 2],hidden_size=8") == ("dico-s", {"depth": "[1, 2]", "hidden_size": "8"})
    assert presets.split("a\nb,depth=1\n2") == ("a\nb", {"depth": "1\n2"})
    assert presets.chosen(["dico-s,depth=[1,2]"]) == ["dico-s,depth=[1,2]"]


@pytest.mark.parametrize(
    ("name", "bare"),
    [("dit-s2,mlp_ratio", "mlp_ratio"), ("dit-s2,depth=2,", ""), ("dit-s2, depth=2", " depth=2"), ("n.py:Net,w", "w")],
)
def test_a_word_behind_a_comma_that_sets_nothing(name: str, bare: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{bare!r} in {name!r} is no setting; give KEY=VALUE")):
        presets.chosen([name])


def test_commas_that_begin_no_setting() -> None:
    assert presets.chosen(["dit-[s,b]2"]) == ["dit-s2", "dit-b2"]
    assert presets.chosen(["a,b/net.py:Net"]) == ["a,b/net.py:Net"]


def test_two_spellings_of_a_place_are_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "dit-s2"):
        (tmp_path / name).mkdir()
    assert presets.chosen(["./net.py:Net,width=4", "a/../net.py:Net,width=4"]) == ["net.py:Net,width=4"]
    assert presets.chosen(["./mine", "mine/", "mine"]) == ["mine"]
    assert presets.chosen(["./dit-s2", "dit-s2"]) == ["./dit-s2", "dit-s2"]
    # by its whole way, which another user's records do not have
    assert presets.chosen([f"{tmp_path}/net.py:Net", "net.py:Net", f"{tmp_path}/mine"]) == ["net.py:Net", "mine"]
    assert presets.chosen([f"{tmp_path}/dit-s2/", "./dit-s2/"]) == ["./dit-s2"]
    elsewhere = tmp_path.parent / "other.py"
    assert presets.chosen([f"{elsewhere}:Net"]) == [f"{elsewhere}:Net"]


def installed(folder: Path, value: str, code: str = "") -> None:
    """A package as pip leaves it, that offers presets."""
    about = folder / "offering-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: offering\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[dimbench.presets]\nmine = {value}\n")
    (folder / "offering").mkdir()
    (folder / "offering" / "__init__.py").write_text(code)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("offering", ""),
        ("offering:PLACE", "from pathlib import Path\nPLACE = Path(__file__).parent"),
        ("offering:PLACE", "import os\nPLACE = os.path.dirname(__file__)"),
    ],
    ids=["module", "path", "text"],
)
def test_a_package_offers_presets(value: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, value, code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "offering", raising=False)
    assert preset_files.places()[-1] == tmp_path / "offering"


@pytest.mark.parametrize(
    ("value", "code", "why"),
    [
        ("offering:PLACE", "PLACE = '/no/such/presets'", "there is no /no/such/presets"),
        ("offering:PLACE", "PLACE = 3", "3|int"),
        ("offering:PLACE", "", "PLACE"),
        ("offering", "raise OSError('no licence')", "no licence"),
        ("offered", "", "offered"),
    ],
)
def test_a_package_that_offers_none_is_named(
    value: str, code: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, value, code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "offering", raising=False)
    with pytest.raises(DimbenchError, match=rf"^offering offers presets by the entry point mine = {value}, .*({why})"):
        preset_files.places()


def test_what_rectified_flow_alone_reads_is_known_by_name() -> None:
    of_flow, of_transport = ({field.name for field in fields(kind)} for kind in (Flow, process.Transport))
    assert set(preset_files.RECTIFIED) == of_flow - of_transport
