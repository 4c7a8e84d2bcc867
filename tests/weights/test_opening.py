"""Files, indexes and folders: told by what they hold, read whole or not at all, and nothing of them executed."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dimbench.errors import DimbenchError
from dimbench.weights.checkpoints import fill, fingerprint
from dimbench.weights.opening import open_checkpoint

WEIGHTS = {f"blocks.{k}.weight": torch.full((2, 3), float(k)) for k in range(6)}


def equal(content: Any, expected: dict[str, Tensor] = WEIGHTS) -> bool:
    return content.keys() == expected.keys() and all(torch.equal(content[name], expected[name]) for name in expected)


def refused(path: Path, words: str) -> str:
    with pytest.raises(DimbenchError, match=words) as caught:
        open_checkpoint(path)
    said = str(caught.value)
    assert said.isprintable()
    assert "weights_only" not in said
    assert path.name in said
    return said


@pytest.mark.parametrize("name", ["a.pt", "a.bin", "a.safetensors", "a.SAFETENSORS", "a.ckpt", "a", "a.txt"])
def test_the_name_of_a_file_says_nothing(tmp_path: Path, name: str) -> None:
    save_file(WEIGHTS, tmp_path / name)
    assert equal(open_checkpoint(tmp_path / name).content)
    torch.save(WEIGHTS, tmp_path / name)
    assert equal(open_checkpoint(tmp_path / name).content)
    torch.save(WEIGHTS, tmp_path / name, _use_new_zipfile_serialization=False)
    assert equal(open_checkpoint(tmp_path / name).content)


def test_what_else_a_file_is_is_named(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("weights/model.pt", whole)
    arrays = io.BytesIO()
    np.savez(arrays, a=np.ones(2))
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w") as tar:
        tar.add(tmp_path / "whole.pt", "model.pt")
    program = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), program)
    others = {
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n": "Git LFS pointer.*git lfs pull",
        gzip.compress(whole): "compressed with gzip; unpack",
        archive.getvalue(): "zip archive that torch did not write",
        arrays.getvalue(): "npz of arrays",
        tarred.getvalue(): "tar archive",
        program.getvalue(): "TorchScript program",
        b"\n<!DOCTYPE html><html>": "web page",
        b"<?xml version='1.0'?><Error>": "web page",
        b"GGUF\x03\0\0\0": "GGUF",
        b"": "is empty",
        b"{}": "no index of weights",
        b"[1]": "a list, not an object",
        b'{"weight_map"': "cannot be read as a JSON object",
    }
    for k, (content, words) in enumerate(others.items()):
        file = tmp_path / f"{k}.safetensors"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        refused(file, words)
    refused(tmp_path / "absent.pt", "there is no checkpoint file")


class Payload:
    """Runs code when unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.place,)


@pytest.mark.parametrize("old", [True, False])
def test_nothing_is_executed_and_nobody_is_told_how_to(tmp_path: Path, old: bool) -> None:
    file = tmp_path / "bad.pt"
    torch.save({"ema": WEIGHTS, "x": Payload(tmp_path / "ran")}, file, _use_new_zipfile_serialization=not old)
    said = refused(file, "holds more than tensors and was not opened")
    assert "safe_globals" not in said
    assert not (tmp_path / "ran").exists()


def test_plain_numbers_of_numpy_are_read_as_numbers(tmp_path: Path) -> None:
    numbers = {"a": np.float64(0.1), "b": np.float32(0.5), "c": np.int64(-3), "d": np.bool_(True), "e": np.uint8(200)}
    torch.save({**WEIGHTS, **numbers}, tmp_path / "a.pt")
    content = open_checkpoint(tmp_path / "a.pt").content
    assert {name: content[name] for name in numbers} == {"a": 0.1, "b": 0.5, "c": -3, "d": True, "e": 200}
    assert all(type(content[name]) in (int, float, bool) for name in numbers)


@pytest.mark.parametrize("value", [np.ones(3), np.str_("x"), np.datetime64("2020-01-01"), np.array(None)])
def test_other_objects_of_numpy_are_not(tmp_path: Path, value: Any) -> None:
    torch.save({**WEIGHTS, "x": value}, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "holds more than tensors")


def parts(folder: Path, name: str = "diffusion_pytorch_model", suffix: str = "safetensors", count: int = 3) -> Path:
    """WEIGHTS cut into files, and their index."""
    folder.mkdir(parents=True, exist_ok=True)
    places = {}
    for k in range(count):
        file = f"{name}-{k + 1:05d}-of-{count:05d}.{suffix}"
        mine = {key: tensor for place, (key, tensor) in enumerate(WEIGHTS.items()) if place % count == k}
        save_file(mine, folder / file) if suffix == "safetensors" else torch.save(mine, folder / file)
        places |= dict.fromkeys(mine, file)
    index = folder / f"{name}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize(("name", "suffix"), [("diffusion_pytorch_model", "safetensors"), ("pytorch_model", "bin")])
def test_parts_are_put_together(tmp_path: Path, name: str, suffix: str) -> None:
    index = parts(tmp_path / "sh", name, suffix)
    assert equal(open_checkpoint(index).content)
    assert equal(open_checkpoint(tmp_path / "sh").content)
    before = fingerprint(index)
    assert before == fingerprint(tmp_path / "sh")
    part = next(tmp_path.glob(f"sh/*-00002-*.{suffix}"))
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    assert fingerprint(index) != before


def test_parts_that_are_not_there_or_not_whole_are_named(tmp_path: Path) -> None:
    index = parts(tmp_path / "sh")
    second = next(tmp_path.glob("sh/*-00002-*"))
    save_file({"blocks.1.weight": torch.ones(2)}, second)
    with pytest.raises(DimbenchError, match=r"does not hold 1 of the tensors .*blocks\.4\.weight"):
        open_checkpoint(index)
    second.unlink()
    with pytest.raises(DimbenchError, match=r"1 of the 3 files .* not beside it .*-00002-of-00003"):
        open_checkpoint(index)


@pytest.mark.parametrize("place", ["../secret.safetensors", "/etc/passwd", "", "..", "a/b", 3, None, "a\0b"])
def test_an_index_reaches_nothing_but_files_beside_it(tmp_path: Path, place: Any) -> None:
    save_file(WEIGHTS, tmp_path / "secret.safetensors")
    index = tmp_path / "in" / "model.safetensors.index.json"
    index.parent.mkdir()
    index.write_text(json.dumps({"weight_map": {"blocks.0.weight": place}}))
    refused(index, "no name of a file beside it")


def saved(*places: str) -> Callable[[Path], None]:
    """Files of other weights, the last but for WEIGHTS."""

    def write(folder: Path) -> None:
        for place in places:
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            wanted = WEIGHTS if place == places[-1] else {"x": torch.zeros(1)}
            save_file(wanted, folder / place) if "safetensors" in place else torch.save(wanted, folder / place)

    return write


@pytest.mark.parametrize(
    "write",
    [
        saved("weights.ckpt"),
        saved("optimizer.bin", "scheduler.bin", "random_states_0.pkl", "training_args.bin", "pytorch_model.bin"),
        saved("pytorch_model.bin", "model.safetensors"),
        saved("diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.safetensors"),
        saved("diffusion_pytorch_model.fp16.safetensors"),
        saved("diffusion_pytorch_model.non_ema.safetensors", "diffusion_pytorch_model.safetensors"),
        saved("model.safetensors", "ema.safetensors"),
        saved("vae/diffusion_pytorch_model.safetensors", "transformer/diffusion_pytorch_model.safetensors"),
        saved("unet/diffusion_pytorch_model.bin", "unet_ema/diffusion_pytorch_model.safetensors"),
        saved("global_step7/zero_pp_rank_0_mp_rank_00_optim_states.pt", "global_step7/mp_rank_00_model_states.pt"),
    ],
)
def test_a_folder_holds_one_network(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    (tmp_path / "latest").write_text("global_step7\n")
    (tmp_path / "README.md").write_text("x")
    opened = open_checkpoint(tmp_path)
    assert equal(opened.content)
    assert opened.files[0].name in opened.notes[0]


def test_folders_that_do_not_say_which_are_refused(tmp_path: Path) -> None:
    saved("step1.pt", "step2.pt")(tmp_path / "two")
    refused(tmp_path / "two", r"several files of weights \(step1\.pt, step2\.pt\); give one")
    (tmp_path / "none").mkdir()
    refused(tmp_path / "none", "holds no file of weights")
    (tmp_path / "dcp").mkdir()
    (tmp_path / "dcp" / ".metadata").write_bytes(pickle.dumps({}))
    refused(tmp_path / "dcp", "distributed checkpoint")


def test_a_network_inside_a_pipeline_of_diffusers_loads(tmp_path: Path) -> None:
    from diffusers import UNet2DModel

    def network() -> Any:
        return UNet2DModel(
            sample_size=8,
            in_channels=1,
            out_channels=1,
            block_out_channels=(8, 8),
            norm_num_groups=4,
            layers_per_block=1,
            down_block_types=("DownBlock2D",) * 2,
            up_block_types=("UpBlock2D",) * 2,
        )

    whole, half, loaded = network(), network().half(), network()
    half.save_pretrained(tmp_path / "unet", variant="fp16")
    assert fill(loaded, tmp_path) == [
        f"Of the folder {tmp_path}, unet/diffusion_pytorch_model.fp16.safetensors was taken."
    ]
    assert all(torch.equal(t, half.float().state_dict()[name]) for name, t in loaded.state_dict().items())
    whole.save_pretrained(tmp_path / "unet", max_shard_size="20KB")
    assert len(list(tmp_path.glob("unet/*-of-*"))) > 1
    fill(loaded, tmp_path)
    assert all(torch.equal(t, whole.state_dict()[name]) for name, t in loaded.state_dict().items())
    torch.save({"state_dict": {f"unet.{name}": t for name, t in half.state_dict().items()}}, tmp_path / "single.ckpt")
    fill(loaded, tmp_path / "single.ckpt")
    assert all(torch.equal(t, half.state_dict()[name]) for name, t in loaded.state_dict().items())
