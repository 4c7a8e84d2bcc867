"""DiT in diffusers' names is the same network, in both directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import dimbench
from dimbench import backbone
from dimbench.errors import DimbenchError, UsageError
from dimbench.weights import dit_names
from dimbench.weights.checkpoints import fill
from dimbench.weights.convert import to_diffusers, to_official
from tests.console import dimbench as run
from tests.weights import tiny

EXACT = 1e-5  # float32, in another order of operations: one product of q, k and v instead of three
TIMES = torch.tensor([0, 1, 500, 999])
LABELS = torch.tensor([0, 3, 9, 10])  # the last means "no class"


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.install(monkeypatch)


def random_state(**options: Any) -> dict[str, Tensor]:
    """Weights of which none are zero, as they are in a new network."""
    generator = torch.Generator().manual_seed(0)
    state = tiny.state(**options)
    drawn = {name: torch.randn(tensor.shape, generator=generator) / 8 for name, tensor in state.items()}
    return drawn | {"pos_embed": dimbench.create_model("tiny-dit").state_dict()["pos_embed"]}


def outputs(state: dict[str, Tensor], x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    model = dimbench.create_model("tiny-dit")
    fill(model, state)
    with torch.inference_mode():
        return model(x, t, y)


def theirs(folder: Path) -> Any:
    from diffusers import DiTTransformer2DModel

    model, loaded = DiTTransformer2DModel.from_pretrained(folder, output_loading_info=True, local_files_only=True)
    assert not loaded["missing_keys"]
    assert not loaded["unexpected_keys"]
    return model.eval()


def test_diffusers_computes_the_same(tmp_path: Path) -> None:
    state = random_state()
    source = tiny.save(tmp_path / "mine.pt", {"model": {k: 0 * v for k, v in state.items()}, "ema": state})
    notes = to_diffusers(backbone.find("tiny-dit"), source, tmp_path / "there")
    assert "averaged weights under 'ema'" in notes[0]
    model = theirs(tmp_path / "there")
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        at_zero = model(x, torch.zeros(4, dtype=torch.long), LABELS).sample
        as_they_space_times = model(x, TIMES, LABELS).sample
        for block in model.transformer_blocks:
            block.norm1.emb.time_proj.downscale_freq_shift = 0
        as_the_authors_do = model(x, TIMES, LABELS).sample
    ours = outputs(state, x, TIMES, LABELS)
    assert torch.allclose(at_zero, outputs(state, x, 0 * TIMES, LABELS), atol=EXACT)
    assert torch.allclose(as_the_authors_do, ours, atol=EXACT)
    assert not torch.allclose(as_they_space_times, ours, atol=EXACT)
    assert "time 0" in notes[-1]


def test_what_diffusers_saved_loads_as_it_is(tmp_path: Path) -> None:
    state = random_state()
    to_diffusers(backbone.find("tiny-dit"), tiny.save(tmp_path / "mine.pt", state), tmp_path / "there")
    folder = tmp_path / "again"
    theirs(tmp_path / "there").save_pretrained(folder, max_shard_size="50KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    model = dimbench.create_model("tiny-dit")
    fill(model, folder)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    to_official(backbone.find("tiny-dit"), folder, tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)
    wrapped = {"module": {f"_orig_mod.{k}": v for k, v in dit_names.to_diffusers(state).items()}}
    fill(model, wrapped)


def test_the_size_is_read_from_config_json(tmp_path: Path) -> None:
    to_diffusers(
        backbone.find("tiny-dit"), tiny.save(tmp_path / "mine.pt", tiny.state(resolution=16)), tmp_path / "there"
    )
    config = json.loads((tmp_path / "there" / "config.json").read_text())
    assert (config["sample_size"], config["num_embeds_ada_norm"], config["out_channels"]) == (16, 10, 2)
    ran = run("weights", "import", tmp_path / "there")
    assert ran.code == 0, ran.stderr
    for words in ("tiny-dit", "16", "of side 16, as its config.json says", "is not one file"):
        assert words in ran.stdout, words
    (tmp_path / "there" / "config.json").unlink()
    assert "of side 32, which nothing in it says" in run("weights", "import", tmp_path / "there").stdout


def test_other_numbers_of_classes_keep_their_rows(tmp_path: Path) -> None:
    state = tiny.state(num_classes=4)
    to_diffusers(backbone.find("tiny-dit"), tiny.save(tmp_path / "mine.pt", state), tmp_path / "there")
    model = theirs(tmp_path / "there")
    assert len(model.transformer_blocks[0].norm1.emb.class_embedder.embedding_table.weight) == 5


def test_embedders_that_are_no_copies_are_refused(tmp_path: Path) -> None:
    state = dit_names.to_diffusers(tiny.state("tiny-deep"))
    odd = "transformer_blocks.1.norm1.emb.timestep_embedder.linear_1.bias"
    model = dimbench.create_model("tiny-deep")
    fill(model, state)
    with pytest.raises(DimbenchError, match=f"{odd} is not the copy"):
        fill(model, {**state, odd: state[odd] + 1})
    with pytest.raises(DimbenchError, match=r"1 missing \(blocks\.0\.attn\.proj\.weight"):
        fill(model, {k: v for k, v in state.items() if k != "transformer_blocks.0.attn1.to_out.0.weight"})


def test_the_command_converts_and_refuses(tmp_path: Path) -> None:
    source = tiny.save(tmp_path / "mine.pt", tiny.state())

    def convert(name: str, *words: object) -> Any:
        return run("weights", "convert", name, *words)

    there, back = tmp_path / "there", tmp_path / "back.safetensors"
    assert convert("tiny-dit", source, "--to", "diffusers", "--out", there).code == 0
    assert convert("tiny-dit", there, "--to", "official", "--out", back).code == 0
    assert load_file(back).keys() == tiny.state().keys()
    assert convert("tiny-sit", source, "--to", "diffusers", "--out", there).code == 2
    assert convert("tiny-deep", source, "--to", "diffusers", "--out", tmp_path / "no").code == 1
    assert not (tmp_path / "no").exists()
    assert convert("tiny-dit", source, "--to", "official", "--out", there).code == 2
    assert convert("tiny-dit", source, "--to", "diffusers", "--out", back).code == 2


def test_quantised_weights_are_recognised_by_nobody(tmp_path: Path) -> None:
    state = {name: tensor.to(torch.int8) for name, tensor in tiny.state().items()}
    save_file(state, tmp_path / "int8.safetensors")
    ran = run("weights", "import", tmp_path / "int8.safetensors")
    assert ran.code == 1
    assert "is of int8 where floats are expected" in ran.stderr


def test_only_dits_are_converted() -> None:
    with pytest.raises(UsageError, match="tiny-sit has one layout here"):
        to_official(backbone.find("tiny-sit"), Path("x.pt"), Path("y.safetensors"))
