"""Checkpoints in every official layout, and everything that is not one."""

from __future__ import annotations

import pickle
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import dimbench
from dimbench.errors import DimbenchError, UsageError

SMALL: dict[str, Any] = {"hidden_size": 32, "depth": 1, "num_heads": 2}


def small(seed: int = 0, name: str = "dit-digits", **settings: Any) -> nn.Module:
    return dimbench.create_model(name, seed=seed, **(SMALL | settings))


def same(left: nn.Module, right: nn.Module) -> bool:
    ours, theirs = left.state_dict(), right.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


WEIGHTS = {name: tensor + 1.0 for name, tensor in small(seed=1).state_dict().items()}
OTHER = {name: tensor * 0.0 for name, tensor in WEIGHTS.items()}
LAYOUTS = {
    "bare": WEIGHTS,
    "training": {"model": OTHER, "ema": WEIGHTS, "opt": {"state": {}}, "args": Namespace(model="DiT-XL/2")},
    "model": {"model": WEIGHTS},
}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_official_layouts_load(tmp_path: Path, layout: str, suffix: str) -> None:
    file = tmp_path / f"weights{suffix}"
    torch.save(LAYOUTS[layout], file)
    model = dimbench.load_checkpoint(small(), file)
    assert all(torch.equal(model.state_dict()[name], WEIGHTS[name]) for name in WEIGHTS)


def test_safetensors_and_state_dicts_load(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "weights.safetensors")
    from_file = dimbench.load_checkpoint(small(), str(tmp_path / "weights.safetensors"))
    from_memory = dimbench.load_checkpoint(small(), {"ema": WEIGHTS})
    assert same(from_file, from_memory)
    assert not same(from_file, small())


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(DimbenchError, match=r"missing \(blocks\.1\."):
        dimbench.load_checkpoint(small(depth=2), WEIGHTS)
    with pytest.raises(DimbenchError, match=r"unexpected \(blocks\.0\.") as caught:
        dimbench.load_checkpoint(small(name="dimsum-digits", hidden_size=32, num_heads=16), WEIGHTS)
    assert "\n" not in str(caught.value)
    with pytest.raises(DimbenchError, match=r"pos_embed \(1, 16, 32\) instead of \(1, 64, 32\)"):
        dimbench.load_checkpoint(small(resolution=16), WEIGHTS)


class Payload:
    """Runs code when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("unpickled"),)


def test_nothing_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Payload()}, tmp_path / "bad.pt")
    with pytest.raises(DimbenchError, match="holds more than tensors and was not opened"):
        dimbench.load_checkpoint(small(), tmp_path / "bad.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(DimbenchError):
        dimbench.load_checkpoint(small(), tmp_path / "old.pt")
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    whole, part = tmp_path / f"whole{suffix}", tmp_path / f"part{suffix}"
    save_file(WEIGHTS, whole) if suffix == ".safetensors" else torch.save(WEIGHTS, whole)
    data = whole.read_bytes()
    part.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(DimbenchError, match=r"part\.") as caught:
        dimbench.load_checkpoint(small(), part)
    assert "\n" not in str(caught.value)


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"loss": 1.0}, tmp_path / "dict.pt")
    for name in ("text.pt", "list.pt", "dict.pt"):
        with pytest.raises(DimbenchError, match=name):
            dimbench.load_checkpoint(small(), tmp_path / name)
    with pytest.raises(DimbenchError, match="there is no checkpoint file"):
        dimbench.load_checkpoint(small(), tmp_path / "absent.pt")


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="has no setting 'width'"):
        dimbench.create_model("dit-s2", width=3)
    with pytest.raises(UsageError, match="resolution 100"):
        dimbench.create_model("dit-s2", resolution=100)
    with pytest.raises(UsageError, match="patches of 8"):
        dimbench.create_model("dit-s8", resolution=8 * 36)
    with pytest.raises(UsageError, match="wavelet"):
        dimbench.create_model("dimsum-b2", resolution=8 * 36)
