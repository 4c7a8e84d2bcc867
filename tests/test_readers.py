"""Any bytes give a value or one sentence: records, references, npz, headers of pictures, presets."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dimbench import preset_files, results
from dimbench.errors import DimbenchError
from dimbench.quality.images import open_images
from dimbench.quality.references import read_reference
from dimbench.report import dashboard, findings, junit, markdown
from tests.quality.test_images import pixels
from tests.report.records import bench, compare

FEW = settings(derandomize=True, max_examples=25, deadline=None)
MANY = settings(max_examples=2000, deadline=None)


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, mu=np.zeros(2), sigma=np.eye(2), arr_0=pixels(2), n=5)
    return file.getvalue()


def cache() -> bytes:
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
    "cache": ("a.pt", cache(), read_reference),
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


@st.composite
def altered(draw: st.DrawFn) -> str:
    """A record of which one entry has another value."""
    record = json.loads(json.dumps(draw(st.sampled_from([bench(), bench(seconds=None), compare()]))))
    part = draw(st.sampled_from(sorted(record)))
    if isinstance(record[part], dict) and record[part] and draw(st.booleans()):
        record[part][draw(st.sampled_from(sorted(record[part])))] = draw(VALUES)
    else:
        record[part] = draw(VALUES)
    return json.dumps(record)


@FEW
@given(altered())
def test_records_of_other_values_are_read_or_refused(line: str) -> None:
    is_read_or_refused("records", line.encode())


@pytest.mark.slow
@MANY
@given(altered())
def test_many_records_of_other_values_are_read_or_refused(line: str) -> None:
    is_read_or_refused("records", line.encode())
