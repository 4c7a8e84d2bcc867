"""Folders of the hub: named as such, read from the cache alone, fetched when asked for."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from diffusers import UNet2DModel

from dimbench import hub
from dimbench.errors import UsageError
from tests.models.small_diffusers import SMALL
from tests.weights import tiny

COMMIT = "0" * 40


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as its client needs for one repository "owner/name"."""

    server: _Server

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        files = self.server.files
        self.server.asked.append(self.path)
        name = self.path.partition("/resolve/")[2].partition("/")[2]
        if self.path.startswith("/api/models/owner/name/tree/"):
            listed = [{"type": "file", "path": file, "size": len(data), "oid": COMMIT} for file, data in files.items()]
            content = json.dumps(listed).encode()
        elif self.path.startswith("/api/models/owner/name"):
            siblings = [{"rfilename": file} for file in files]
            content = json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": siblings}).encode()
        elif name in files:
            content = files[name]
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    files: dict[str, bytes]
    asked: list[str]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[_Server]:
    weights = tiny.save(tmp_path / "w.bin", {"x": 1}).read_bytes()
    with _Server(("127.0.0.1", 0), _Hub) as server:
        server.asked = []
        server.files = {
            "model_index.json": b"{}",
            "vae/config.json": b"{}",
            "vae/diffusion_pytorch_model.bin": weights,
            "vae/diffusion_pytorch_model.safetensors": weights,
            "vae/diffusion_pytorch_model.fp16.safetensors": weights,
            "text_encoder/model.safetensors": weights,
        }
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def run(server: _Server, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, since the client reads its settings when it is imported."""
    plain = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    address = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(home)}
    command = [sys.executable, "-m", "dimbench", *words]
    return subprocess.run(command, env={**plain, **address}, text=True, capture_output=True, timeout=120)


@pytest.mark.slow
def test_one_folder_is_fetched_and_then_found(server: _Server, tmp_path: Path) -> None:
    missing = run(server, tmp_path, "weights", "import", "hf:owner/name/vae")
    assert "`dimbench weights fetch hf:owner/name/vae` brings it" in missing.stderr
    assert server.asked == []
    fetched = run(server, tmp_path, "weights", "fetch", "hf:owner/name/vae")
    assert fetched.returncode == 0, fetched.stderr
    (folder,) = (tmp_path / "hub").glob("models--owner--name/snapshots/*/vae")
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "diffusion_pytorch_model.safetensors"]
    asked = len(server.asked)
    found = run(server, tmp_path, "weights", "import", "hf:owner/name/vae")
    assert "holds no state dict" in found.stderr
    assert len(server.asked) == asked


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hf:owner/name", "holds no weights, but in text_encoder, vae: name one, as in hf:owner/name/FOLDER"),
        ("hf:owner/absent", "hf:owner/absent was not fetched"),
        ("hf:owner", "write hf:owner/name"),
    ],
)
def test_what_the_hub_does_not_give_is_said(server: _Server, tmp_path: Path, name: str, said: str) -> None:
    ran = run(server, tmp_path, "weights", "fetch", name)
    assert ran.returncode in (1, 2)
    assert said in " ".join(ran.stderr.split())
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_a_network_is_fetched_where_its_name_is_taken(server: _Server, tmp_path: Path) -> None:
    config, _ = SMALL["UNet2DModel"]
    UNet2DModel(**config).save_pretrained(tmp_path / "unet")
    server.files |= {f"unet/{file.name}": file.read_bytes() for file in (tmp_path / "unet").iterdir()}
    unasked = run(server, tmp_path, "params", "hf:owner/name")
    assert (unasked.returncode, unasked.stdout) == (1, "")
    assert "hf:owner/name is not in the hub's cache on this machine; --fetch" in unasked.stderr
    assert server.asked == []
    asked = run(server, tmp_path, "params", "hf:owner/name", "--fetch", "--out", str(tmp_path / "r.jsonl"))
    assert "703,779" in asked.stdout, asked.stderr
    assert [path for path in server.asked if "/resolve/" in path and "config.json" not in path] == []
    (snapshot,) = (tmp_path / "hub").glob("models--owner--name/snapshots/*")
    drawn = ("sample", "hf:owner/name", "--process", "gaussian", "--steps", "2", "--num-images", "2", "--out")
    without = run(server, tmp_path, *drawn, str(tmp_path / "sheet.png"))
    assert "the checkpoint, of which hf:owner/name holds none" in without.stderr
    assert "--random-weights" in without.stderr
    fetched = run(server, tmp_path, *drawn, str(tmp_path / "sheet.png"), "--fetch")
    assert fetched.returncode == 0, fetched.stderr
    assert sorted(file.name for file in (snapshot / "unet").iterdir()) == [
        "config.json", "diffusion_pytorch_model.safetensors",
    ]  # fmt: skip


def test_names_are_told_apart() -> None:
    assert hub.parse("hf:owner/name") == hub.Name("owner/name", "")
    assert hub.parse("hf:owner/name/a/b/") == hub.Name("owner/name", "a/b")
    assert str(hub.parse("hf:owner/name/vae")) == "hf:owner/name/vae"
    for wrong in ("hf:", "hf:owner", "hf:/name", "hf:owner/../name", "hf:owner/name/../x", "hf:o/n/ x", "hf:o/n\n"):
        with pytest.raises(UsageError, match="write hf:owner/name"):
            hub.parse(wrong)
