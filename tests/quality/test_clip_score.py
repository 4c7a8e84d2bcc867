"""The CLIP score against the formula, and as a user asks for it with a small CLIP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dimbench.errors import DimbenchError
from dimbench.files import digest
from dimbench.quality.clip_score import clip_score, embedded
from tests.commands.test_fid import records
from tests.console import dimbench, refused
from tests.quality.test_images import pixels, write_folder

WORDS = [
    "<|startoftext|>",
    "<|endoftext|>",
    "a</w>",
    "cat</w>",
    "dog</w>",
    "c",
    "a",
    "t</w>",
    "ca",
    "d",
    "o",
    "g</w>",
    "do",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPConfig, CLIPModel

    place = tmp_path_factory.mktemp("models") / "clip"
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape["projection_dim"] = 12
    text = {**shape, "vocab_size": len(WORDS), "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1}
    torch.manual_seed(0)
    vision = {**shape, "image_size": 28, "patch_size": 14}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).save_pretrained(place)
    (place / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(WORDS)}))
    (place / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\nd o\ndo g</w>\n")
    (place / "tokenizer_config.json").write_text('{"tokenizer_class": "CLIPTokenizer"}')
    return place


def test_it_is_the_mean_of_the_cosines_above_zero() -> None:
    images = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, -1.0]])
    assert clip_score(images, texts) == pytest.approx(100 * (1 + 0.6 + 0) / 3)


def test_texts_have_embeddings_of_length_one_of_their_own(folder: Path) -> None:
    found = embedded(["a cat", "a dog", "a cat"], folder)
    assert found.shape == (3, 12)
    assert found.norm(dim=1).tolist() == pytest.approx([1.0] * 3)
    assert torch.allclose(found[0], found[2])
    assert not torch.allclose(found[0], found[1])
    assert embedded(["a cat " * 50], folder).isfinite().all()
    with pytest.raises(DimbenchError, match="no folder that could give CLIP for texts"):
        embedded(["a"], folder / "absent")


def test_a_user_gets_it_beside_cmmd(folder: Path, tmp_path: Path) -> None:
    from dimbench.quality.clip import CLIPExtractor

    drawn, real = write_folder(tmp_path / "drawn", pixels(30, 16) // 2), write_folder(tmp_path / "real", pixels(30, 16))
    texts = ["a cat", "a dog"] * 15
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    asked = ["fid", "--images", drawn, "--reference", real, "--prompts", tmp_path / "texts.txt"]
    asked += ["--extractor", f"clip-vit-l14-336:{folder}"]
    (found,) = records(*asked)
    seen = CLIPExtractor(folder).features(torch.from_numpy(pixels(30, 16) // 2).permute(0, 3, 1, 2))["pool"]
    assert found["metrics"]["clip_score"] == pytest.approx(clip_score(seen, embedded(texts, folder)), rel=1e-5)
    assert found["conditions"]["prompts_sha256"] == digest(tmp_path / "texts.txt")[:16]
    assert "CLIP score" in dimbench(*asked).stdout
    assert "is read by CLIP alone" in refused(2, *asked[:-2])
    (tmp_path / "texts.txt").write_text("a cat")
    assert "has 1 lines for 30 images; give one line for each" in refused(2, *asked)
    assert "cannot be read" in refused(2, *asked[:6], tmp_path / "absent", *asked[7:])
    assert "--images that were drawn from texts" in refused(2, "fid", "dit-digits", "--prompts", tmp_path / "texts.txt")
