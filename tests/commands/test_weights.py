"""weights list, where, fetch, check and import, as a user types them, and sample with what they brought."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dimbench import paths, presets
from tests.console import Ran, dimbench, refused
from tests.weights import tiny
from tests.weights.server import Behaviour, serving

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Behaviour]:
    """The tiny family on a server that sends the weights of tiny-8.pt, whatever is asked for."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(Behaviour()) as how:
        tiny.install(monkeypatch, how.url)
        how.content = tiny.save(tmp_path / "served", tiny.state()).read_bytes()
        yield how


def place(name: str = "tiny-8.pt") -> Path:
    return paths.weights_folder() / name


def states() -> dict[str, str]:
    entries = json.loads(dimbench("weights", "list", "--json").stdout)
    return {entry["file"]: entry["here"] for entry in entries}


def done(*words: object) -> Ran:
    ran = dimbench("weights", *words)
    assert ran.code == 0, ran.stderr
    return ran


def test_list_says_what_is_published() -> None:
    shown = done("list").stdout
    for words in (
        "DiT-XL-2-512x512.pt",
        "3.04 ImageNet",
        "ddpm 250, cfg 1.5, sd-vae-ft-ema",
        "size unknown",
        "2.70 GB",
        "absent",
    ):
        assert words in shown, words
    assert "address unknown" in done("list", "celeb512*").stdout
    (entry,) = json.loads(done("list", "sit-xl2", "--json").stdout)
    assert entry["model"] == "sit-xl2"
    assert entry["size"] == 2_700_608_707
    assert entry["sampling"]["sampler"] == "sde-euler"
    assert entry["here"] == "absent"


def test_where_names_the_folder_and_each_place() -> None:
    shown = done("where", "dit-xl2", "dit-digits").stdout
    assert shown.splitlines()[0] == str(paths.weights_folder())
    assert str(place("DiT-XL-2-256x256.pt")) in shown
    assert "ships" in shown


def test_a_file_is_fetched_once_and_written_down(server: Behaviour) -> None:
    assert states()["tiny-8.pt"] == "absent"
    shown = done("fetch", "tiny-8.pt").stdout
    assert place().read_bytes() == server.content
    assert "fetched" in shown
    assert states()["tiny-8.pt"] == "fetched and verified"
    assert "was here" in done("fetch", "tiny-8.pt", "--offline").stdout
    assert len(server.requests) == 1
    assert "as it arrived" in done("check").stdout


def test_an_interrupted_fetch_goes_on(server: Behaviour) -> None:
    server.cuts = [5000, 0]
    said = refused(1, "weights", "fetch", "tiny-8.pt")
    assert "5,000 bytes that came are kept" in said
    assert states()["tiny-8.pt"] == "fetched in part"
    done("fetch", "tiny-8.pt")
    assert place().read_bytes() == server.content
    assert server.requests[-1]["Range"] == "bytes=5000-"
    assert sorted(path.name for path in paths.weights_folder().iterdir()) == ["tiny-8.pt", "tiny-8.pt.sha256.json"]


def test_what_does_not_come_is_said_with_both_places(server: Behaviour) -> None:
    server.status = 404
    said = refused(1, "weights", "fetch", "tiny-8.pt")
    for words in ("tiny-8.pt", "404", f"{server.url}/tiny-8.pt", str(place())):
        assert words in said, words
    assert said.count("\n") == 1
    server.status, server.pause = 200, 1.0
    assert "silent" in refused(1, "weights", "fetch", "tiny-8.pt", "--timeout", 0.2)
    server.requests.clear()
    assert f"{server.url}/tiny-churches.pt" in refused(1, "weights", "fetch", "tiny-churches.pt", "--offline")
    assert "copy its ema.pt by hand" in refused(1, "weights", "fetch", "tiny-churches.pt", "--offline")
    assert "https://page.invalid" in refused(1, "weights", "fetch", "tiny-page.pt")
    assert "address is unknown" in refused(1, "weights", "fetch", "tiny-lost.pt")
    assert server.requests == []
    assert [path.name for path in paths.weights_folder().iterdir()] == []


def test_one_failure_does_not_stop_the_others(server: Behaviour) -> None:
    ran = dimbench("weights", "fetch", "tiny-lost.pt", "tiny-8.pt")
    assert ran.code == 1
    assert "address is unknown" in ran.stderr
    assert place().is_file()


def test_another_content_than_before_is_refused(server: Behaviour) -> None:
    done("fetch", "tiny-8.pt")
    place().unlink()
    server.content = server.content[:-1] + b"?"
    said = refused(1, "weights", "fetch", "tiny-8.pt")
    assert "is not the file that was here before" in said
    assert states()["tiny-8.pt"] == "absent"


def test_check_names_a_corrupt_file(server: Behaviour) -> None:
    done("fetch", "tiny-8.pt", "tiny-16.pt")
    data = bytearray(place().read_bytes())
    data[1000] ^= 1
    place().write_bytes(data)
    assert states()["tiny-8.pt"] == "fetched, not verified"
    ran = dimbench("weights", "check")
    assert ran.code == 1
    assert f"{place()} is corrupt" in ran.stderr
    assert "tiny-16.pt" in ran.stdout
    assert "tiny-16.pt" not in ran.stderr
    assert "is corrupt" in refused(1, "weights", "fetch", "tiny-8.pt")


def test_a_file_copied_by_hand_is_written_down(server: Behaviour) -> None:
    assert "No published file" in done("check").stdout
    tiny.save(place(), tiny.state())
    assert states()["tiny-8.pt"] == "fetched, not verified"
    assert "written down" in done("check", "tiny-8.pt").stdout
    assert states()["tiny-8.pt"] == "fetched and verified"
    place("tiny-8.pt.sha256.json").write_text("{")
    assert states()["tiny-8.pt"] == "fetched, not verified"
    assert "tiny-8.pt.sha256.json is damaged; delete it" in refused(1, "weights", "check")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 2700\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [(POINTER, "is a Git LFS pointer"), (b"\x1f\x8b" + bytes(99), "compressed with gzip"), (b"<html>", "a web page")],
)
def test_what_comes_in_the_place_of_weights_is_not_kept(server: Behaviour, content: bytes, said: str) -> None:
    server.content = content
    assert said in refused(1, "weights", "fetch", "tiny-8.pt")
    assert list(paths.weights_folder().iterdir()) == []
    place().write_bytes(content)
    assert states()["tiny-8.pt"] == "fetched, not verified"
    assert said in refused(1, "weights", "check")


def publish(monkeypatch: pytest.MonkeyPatch, **facts: Any) -> None:
    """Let the presets say more of tiny-8.pt."""
    models = presets.all_presets()
    first, *others = models["tiny-dit"].checkpoints
    model = replace(models["tiny-dit"], checkpoints=(replace(first, **facts), *others))
    monkeypatch.setattr(presets, "all_presets", lambda: {**models, "tiny-dit": model})


def test_size_and_sha256_of_the_published_file_decide(
    server: Behaviour, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = hashlib.sha256(server.content).hexdigest()
    done("fetch", "tiny-8.pt")
    for facts, said in (
        ({"size": len(server.content) + 1}, f"has {len(server.content):,} bytes and not the"),
        ({"size": len(server.content), "sha256": "0" * 64}, f"SHA-256 begins with {good[:12]}, not 000000000000"),
    ):
        publish(monkeypatch, **facts)
        assert states()["tiny-8.pt"] == "fetched, not verified"
        assert said in refused(1, "weights", "check")
        assert said in refused(1, "weights", "fetch", "tiny-8.pt")
        moved = place().rename(tmp_path / "tiny-8.pt")
        if facts["size"] == len(server.content):  # of another size, it has not come whole
            assert said in refused(1, "weights", "fetch", "tiny-8.pt")
        imported = dimbench("weights", "import", moved)
        assert imported.code == 1
        assert said in imported.stderr
        assert not place().exists()
        moved.rename(place())
    publish(monkeypatch, size=len(server.content), sha256=good)
    assert states()["tiny-8.pt"] == "fetched and verified"
    place().unlink()
    done("fetch", "tiny-8.pt")
    assert "as it arrived" in done("check").stdout


def test_ctrl_c_keeps_what_came(server: Behaviour, tmp_path: Path) -> None:
    server.pause = 0.05
    script = (
        "import sys\nfrom dataclasses import replace\nfrom dimbench import cli, presets\n"
        f"file = presets.Checkpoint(file='tiny-8.pt', url='{server.url}/tiny-8.pt', resolution=8)\n"
        "model = replace(presets.find('dit-digits'), checkpoints=(file,))\n"
        "presets.all_presets = lambda: {'tiny-dit': model}\n"
        "sys.argv = ['dimbench', 'weights', 'fetch', 'tiny-8.pt']\ncli.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    part = place("tiny-8.pt.part")
    deadline = time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size > 4000):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    kept = part.stat().st_size
    assert part.read_bytes() == server.content[:kept]
    server.pause = 0.0
    done("fetch", "tiny-8.pt")
    assert place().read_bytes() == server.content
    assert server.requests[-1]["Range"] == f"bytes={kept}-"


EMPTY: dict[str, Any] = {"opt": {"state": {}}, "args": Namespace(model="unnamed")}


@pytest.mark.parametrize(
    "layout", ["state dict", "{model, ema, opt, args}", "{epoch, model, ema, opt, args}", "{model}"]
)
@pytest.mark.usefixtures("server")
def test_official_layouts_are_imported(layout: str, tmp_path: Path) -> None:
    weights, other = tiny.state(), {name: 0 * tensor for name, tensor in tiny.state().items()}
    content = {
        "state dict": weights,
        "{model, ema, opt, args}": {"model": other, "ema": weights, **EMPTY},
        "{epoch, model, ema, opt, args}": {"epoch": 3, "model": other, "ema": weights, **EMPTY},
        "{model}": {"model": weights},
    }
    file = tiny.save(tmp_path / "here" / "tiny-8.pt", content[layout])
    shown = done("import", file).stdout
    assert f"Layout: {layout}." in shown
    assert "tiny-dit" in shown
    assert "tiny-sit" in shown
    assert "does not tell which" in shown
    assert place().read_bytes() == file.read_bytes()
    assert states()["tiny-8.pt"] == "fetched and verified"
    assert [path.suffix for path in paths.weights_folder().iterdir()].count(".import") == 0


@pytest.mark.usefixtures("server")
def test_import_says_what_a_file_needs(tmp_path: Path) -> None:
    shown = done("import", tiny.save(tmp_path / "mine.pt", tiny.state(resolution=32, num_classes=4))).stdout
    for words in ("32", "num_classes = 4", "nothing was copied", f"--weights {tmp_path / 'mine.pt'}"):
        assert words in shown, words
    save_file(tiny.state("tiny-deep"), tmp_path / "deep.safetensors")
    assert "tiny-deep" in done("import", tmp_path / "deep.safetensors").stdout
    told = done("import", tmp_path / "deep.safetensors", "--json")
    assert [row["fits"] for row in json.loads(told.stdout)] == ["tiny-deep"]
    assert "nothing was copied" in told.stderr
    assert not paths.weights_folder().exists()


@pytest.mark.usefixtures("server")
def test_the_training_command_tells_twins_apart(tmp_path: Path) -> None:
    content = {"model": tiny.state(), "args": Namespace(model="Tiny-2")}
    shown = done(
        "import", tiny.save(tmp_path / "x.pt", {**content, "ema": tiny.state(), "opt": {}}), "--as", "tiny-8.pt"
    ).stdout
    assert "tiny-dit" in shown
    assert "tiny-sit" not in shown


@pytest.mark.usefixtures("server")
def test_files_of_the_same_shapes_are_told_by_name_or_not_at_all(tmp_path: Path) -> None:
    weights = tiny.state(**tiny.ONE_LABEL)
    ran = dimbench("weights", "import", tiny.save(tmp_path / "unknown.pt", weights))
    assert ran.code == 1
    told = dimbench("weights", "import", tmp_path / "unknown.pt", "--json")
    for row in json.loads(told.stdout):
        assert any("does not tell which" in note for note in row["notes"])
    assert "shapes are those of tiny-faces.pt or tiny-churches.pt" in ran.stderr
    assert "1 " in ran.stdout
    done("import", tmp_path / "unknown.pt", "--as", "tiny-faces.pt")
    done("import", tiny.save(tmp_path / "ema.pt", weights))  # what the authors call it
    assert place("tiny-faces.pt").is_file()
    assert place("tiny-churches.pt").is_file()
    said = refused(1, "weights", "import", tmp_path / "ema.pt", "--as", "tiny-8.pt")
    assert "the file is not tiny-8.pt: 1 of another shape (y_embedder.embedding_table.weight (1, 32)" in said


class Payload:
    """Runs code when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("unpickled"),)


@pytest.mark.usefixtures("server")
def test_nothing_is_executed_and_strangers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Payload()}, "bad.pt")
    assert "not opened" in refused(1, "weights", "import", "bad.pt")
    assert not Path("unpickled").exists()
    torch.save({"weight": torch.zeros(3)}, "strange.pt")
    assert "fit no registered model; the nearest is tiny-dit" in refused(1, "weights", "import", "strange.pt")
    assert "no checkpoint file" in refused(1, "weights", "import", "absent.pt")


def sample(tmp_path: Path, *words: object) -> Any:
    ran = dimbench("sample", "tiny-dit", "--steps", 2, "--num-images", 2, "--json", "--out", tmp_path / "a.png", *words)
    assert ran.code == 0, ran.stderr
    return json.loads(ran.stdout)[0]


@pytest.mark.usefixtures("server")
def test_sample_takes_what_was_fetched(tmp_path: Path) -> None:
    assert "dimbench weights fetch" in refused(1, "sample", "tiny-dit", "--steps", 2)
    tiny.save(place("tiny-churches.pt"), tiny.state(**tiny.ONE_LABEL))
    record = sample(tmp_path)  # with its one label
    assert any("tiny-churches.pt was taken" in warning for warning in record["warnings"])
    done("fetch", "tiny-8.pt")
    other = sample(tmp_path)  # the first that the preset lists
    assert any("tiny-8.pt was taken" in warning for warning in other["warnings"])
    assert other["conditions"]["weights"] != record["conditions"]["weights"]
    assert "tiny-16.pt" in refused(1, "sample", "tiny-dit", "--steps", 2, "--resolution", 16)
    tiny.save(place("tiny-16.pt"), tiny.state(resolution=16))
    assert sample(tmp_path, "--resolution", 16)["conditions"]["resolution"] == 16


@pytest.mark.usefixtures("server")
def test_options_of_a_published_file_go_with_its_name(tmp_path: Path) -> None:
    faces = tiny.save(tmp_path / "tiny-faces.pt", tiny.state(**tiny.ONE_LABEL))
    assert sample(tmp_path, "--weights", faces)["warnings"] == []
    faces.rename(tmp_path / "renamed.pt")
    assert "embedding_table" in refused(1, "sample", "tiny-dit", "--steps", 2, "--weights", tmp_path / "renamed.pt")


def test_fid_takes_the_shared_files_that_were_fetched() -> None:
    def missing() -> str:
        return refused(1, "fid", "--model", "dit-xl2", "--steps", 250)

    asked = {"--weights", "--autoencoder", "--reference", "--inception"}
    assert all(option in missing() for option in asked)
    fetched = {"adm-imagenet-256": "--reference", "inception": "--inception", "sd-vae-ft-ema": "--autoencoder"}
    for name, option in fetched.items():
        for file in presets.shared_files()[name].files:
            place(file.file).parent.mkdir(parents=True, exist_ok=True)
            if name == "adm-imagenet-256":  # is read before anything long
                np.savez(place(file.file), mu=np.zeros(2048), sigma=np.eye(2048))
            else:
                place(file.file).touch()
        asked.discard(option)
        said = missing()
        assert f"{option} F" not in said
        assert all(other in said for other in asked)
