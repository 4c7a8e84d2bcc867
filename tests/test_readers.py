"""Any bytes, and any values in them, give a value or one sentence: records, references, pictures, presets, caches,
checkpoints."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.request import Request

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import dimbench
from dimbench import paths, preset_files, presets, results
from dimbench.bench import ceilings, roofline
from dimbench.comparing import noise
from dimbench.comparing.kept_rounds import KeptRounds
from dimbench.data import digits
from dimbench.diffusion.process import find_process
from dimbench.errors import DimbenchError
from dimbench.presets import Published
from dimbench.quality.images import open_images
from dimbench.quality.provenance import claimed
from dimbench.quality.references import read_reference
from dimbench.report import dashboard, findings, junit, markdown
from dimbench.sampling.shards import Shards
from dimbench.training import Training, TrainingRecipe
from dimbench.weights import checkpoints, download, ledger
from dimbench.weights.unpickling import read_pickle
from tests.comparing.rounds_of import entry
from tests.quality.test_images import pixels
from tests.report.records import bench, compare

Read = Callable[[Path], object]
Write = Callable[[Any, Path], object]
FEW = settings(derandomize=True, max_examples=25, deadline=None)
MANY = settings(max_examples=2000, deadline=None)


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, mu=np.zeros(2), sigma=np.eye(2), arr_0=pixels(2), n=5)
    return file.getvalue()


def torch_fidelity() -> bytes:
    file = io.BytesIO()
    torch.save({"mu": torch.zeros(2), "sigma": torch.eye(2)}, file)
    return file.getvalue()


def picture(form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(1)[0]).save(file, format=form)
    return file.getvalue()


def records_read(path: Path) -> object:
    found = findings.gather(results.read(path))
    return [render(found).encode() for render in (markdown.render, junit.render, dashboard.render)]


def pictures_read(path: Path) -> object:
    return list(open_images(path.parent).batches(2))


PRESET = (Path(__file__).parent.parent / "presets" / "sit.toml").read_bytes()
RECORDS = "".join(json.dumps(record) + "\n" for record in (bench(), compare())).encode()
READERS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "records": ("a.jsonl", RECORDS, records_read),
    "reference": ("a.npz", npz(), read_reference),
    "cache": ("a.pt", torch_fidelity(), read_reference),
    "npz": ("a.npz", npz(), lambda path: list(open_images(path).batches(2))),
    "png": ("a.png", picture("PNG"), pictures_read),
    "jpeg": ("a.jpg", picture("JPEG"), pictures_read),
    "ppm": ("a.ppm", picture("PPM"), pictures_read),
    "preset": ("a.toml", PRESET, preset_files.read),
    "bmp": ("a.bmp", picture("BMP"), pictures_read),
}


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The file with a part of it overwritten, cut out or put in; or bytes of no kind at all."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=200))
    start = draw(st.integers(0, len(whole)))
    end = draw(st.integers(start, min(len(whole), start + draw(st.sampled_from([1, 4, 1000])))))
    return whole[:start] + draw(st.binary(max_size=8)) + whole[end:]


def is_read_or_refused(reader: str, content: bytes) -> None:
    name, _, read = READERS[reader]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        with contextlib.suppress(DimbenchError):
            read(path)


def check(reader: str, budget: settings) -> None:
    @budget
    @given(damaged(READERS[reader][1]))
    def holds(content: bytes) -> None:
        is_read_or_refused(reader, content)

    holds()


@pytest.mark.parametrize("reader", READERS)
def test_any_bytes_are_read_or_refused(reader: str) -> None:
    is_read_or_refused(reader, READERS[reader][1])
    check(reader, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_many_bytes_are_read_or_refused(reader: str) -> None:
    check(reader, MANY)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=5), parts, max_size=3),
    max_leaves=5,
)
TENSORS = st.sampled_from([torch.zeros(()), torch.full((2,), math.nan), torch.ones(3, dtype=torch.complex64)])


@st.composite
def altered(draw: st.DrawFn, whole: Any, values: st.SearchStrategy[Any] = VALUES) -> Any:
    """The object with another value somewhere in it, or without one of its entries."""
    if not isinstance(whole, dict | list) or not whole or draw(st.integers(0, 3)) == 0:
        return draw(values)
    keys = list(whole) if isinstance(whole, dict) else list(range(len(whole)))
    key = draw(st.sampled_from(keys))
    copied = whole.copy()
    if draw(st.integers(0, 4)) == 0:
        del copied[key]
    else:
        copied[key] = draw(altered(whole[key], values))
    return copied


def is_altered_or_refused(name: str, whole: list[Any], write: Write, read: Read, budget: settings) -> None:
    @budget
    @given(
        st.sampled_from(whole).flatmap(lambda one: altered(one, VALUES | TENSORS if write is torch.save else VALUES))
    )
    def holds(content: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            write(content, path)
            with contextlib.suppress(DimbenchError):
                read(path)

    holds()


def as_json(content: Any, path: Path) -> None:
    path.write_text(json.dumps(content) + "\n")


def ceilings_read(path: Path) -> object:
    with mock.patch.object(ceilings, "_file", return_value=path):
        found = ceilings.load("a", 1)
    return found and roofline.position(1, 1.0, 1, found.macs_per_second.get("fp32", 1.0), found.bytes_per_second)


def calibrations_read(path: Path) -> object:
    with mock.patch.object(paths, "calibrations_file", return_value=path):
        return [known.half_width(10) for known in noise.known().values()]


def rounds_read(path: Path) -> object:
    with mock.patch.object(paths, "cache_folder", return_value=path.parent):
        kept = KeptRounds([])
        path.rename(kept.file.parent.mkdir() or kept.file)
        return KeptRounds([])


def note_read(path: Path) -> object:
    file = path.with_name(path.name.removesuffix(".sha256.json"))
    file.touch()
    return [ledger.state(file, Published(file="a.bin")), ledger.check(file, Published(file="a.bin"))]


def begun_read(path: Path) -> object:
    part = path.with_name(path.name.removesuffix(".json"))
    part.touch()
    found = download._begun(part, "http://a")
    return found and Request("http://a", headers={"If-Range": found.condition, "Range": f"bytes={found.total + 1}"})


def manifest_read(path: Path) -> object:
    with Shards(path.parent, {"model": "m"}, 2, (1, 8, 8)).claimed():
        return claimed(path.parent)


def training_resumed(path: Path) -> object:
    training = Training(small_network(), find_process(presets.find("dit-digits").diffusion), TrainingRecipe(steps=3))
    return training.resume(path) and training.save(path)


def weights_filled(path: Path) -> object:
    return checkpoints.fill(small_network(), path)


def small_network() -> torch.nn.Module:
    return dimbench.create_model("dit-digits", hidden_size=8, depth=1, num_heads=1)


@cache
def trained() -> dict[str, Any]:
    training = Training(small_network(), find_process(presets.find("dit-digits").diffusion), TrainingRecipe(steps=3))
    training.advance(*digits.load("train"))
    with tempfile.TemporaryDirectory() as folder:
        training.save(Path(folder, "a.ckpt"))
        return dict(read_pickle(Path(folder, "a.ckpt")))


CEILINGS = asdict(ceilings.Ceilings("a", 1, {"fp32": 1e9}, 1e9, 1e-6, "2", "2026"))
CALIBRATION = {
    **entry(command="calibrate", deviation=0.1),
    "conditions": {"host": platform.node(), "device_name": "a"},
}
NOTE = {"sha256": hashlib.sha256().hexdigest(), "size": 0, "mtime_ns": 0, "source": "a", "arrived": "b"}
BEGUN = {"url": "http://a", "etag": '"b"', "modified": "c", "total": 5}
MANIFEST = Shards(Path(), {"model": "m"}, 2, (1, 8, 8)).manifest
OBJECTS: dict[str, tuple[str, Callable[[], list[Any]], Write, Read]] = {
    "records": ("a.jsonl", lambda: [bench(), bench(seconds=None), compare()], as_json, records_read),
    "ceilings": ("a.json", lambda: [CEILINGS], as_json, ceilings_read),
    "calibrations": ("a.jsonl", lambda: [CALIBRATION], as_json, calibrations_read),
    "rounds": ("a.jsonl", lambda: [[False, "dit-digits", 0, [entry()], [entry()]]], as_json, rounds_read),
    "note": ("a.bin.sha256.json", lambda: [NOTE], as_json, note_read),
    "begun": ("a.part.json", lambda: [BEGUN], as_json, begun_read),
    "manifest": ("manifest.json", lambda: [MANIFEST], as_json, manifest_read),
    "training": ("a.ckpt", lambda: [trained()], torch.save, training_resumed),
    "weights": ("a.pt", lambda: [{"model": trained()["model"], "ema": trained()["ema"]}], torch.save, weights_filled),
}


@pytest.mark.parametrize("reader", OBJECTS)
def test_objects_with_other_values_are_read_or_refused(reader: str) -> None:
    name, whole, write, read = OBJECTS[reader]
    is_altered_or_refused(name, whole(), write, read, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("reader", OBJECTS)
def test_many_objects_with_other_values_are_read_or_refused(reader: str) -> None:
    name, whole, write, read = OBJECTS[reader]
    is_altered_or_refused(name, whole(), write, read, MANY)
