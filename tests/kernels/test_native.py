from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch

from dimbench import files
from dimbench.errors import DimbenchError, UsageError
from dimbench.kernels import backends, native
from dimbench.kernels.selective_scan import backends as scan_backends
from dimbench.kernels.selective_scan import selective_scan
from tests.kernels.scan_cases import cast, inputs

ROOT = Path(__file__).parents[2]
CASE = cast(inputs(1, 5, 3, 2), torch.float32)
WAIT = 120  # seconds; a compile takes three


@pytest.fixture(autouse=True)
def first_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As in a process that has compiled and warned of nothing, with an empty cache folder."""
    monkeypatch.setattr(native, "_done", {})
    monkeypatch.setattr(scan_backends, "_warned", set())
    monkeypatch.setenv("DIMBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "answer" / "cpu.cpp"
    file.parent.mkdir()
    file.write_text('#include "vector.h"\nextern "C" int answer() { return 40 + (LANES > 0) + 1; }\n')
    return file


def _compiler(folder: Path, script: str) -> str:
    """A program that poses as a compiler; its script knows the `output` it is to write."""
    path = folder / "cxx"
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit\nfor output; do :; done\n{script}\n')
    path.chmod(0o755)
    return str(path)


def test_compiles_once_and_again_for_another_source(
    source: Path, first_use: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("CXX", _compiler(tmp_path, f'echo x >> {log}; exec c++ "$@"'))
    for _ in range(2):
        assert native.load(source).answer() == 42
        native._done.clear()
    assert log.read_text().count("x") == 1
    source.write_text(source.read_text().replace("40", "50"))
    assert native.load(source).answer() == 52
    assert log.read_text().count("x") == 2
    assert sorted(path.suffix for path in first_use.iterdir()) == [".so", ".so"]


def _left_out(match: str) -> None:
    """The reference serves, one warning says why, and forcing the backend is an error that says the same."""
    with pytest.warns(UserWarning, match=match) as caught:
        y = selective_scan(*CASE)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        selective_scan(*CASE)
    with backends.use("reference"):
        assert torch.equal(y, selective_scan(*CASE))
    with backends.use("cpu"), pytest.raises(UsageError, match=match):
        selective_scan(*CASE)


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    _left_out(r"no C\+\+ compiler was found")


def test_with_a_compiler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    _left_out("looked for no-such-compiler")


def test_with_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first_use: Path) -> None:
    monkeypatch.setenv("CXX", _compiler(tmp_path, 'echo "unknown flag -fopenmp" >&2; exit 1'))
    _left_out("could not compile cpu.cpp of selective_scan: unknown flag -fopenmp")
    assert not list(first_use.iterdir())


def test_with_a_cache_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DIMBENCH_CACHE", str(tmp_path / "file"))
    _left_out(r"cannot be kept in .*file.kernels \(Not a directory\); set DIMBENCH_CACHE")


def test_with_a_compiled_file_that_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", _compiler(tmp_path, 'echo "half a file" > "$output"'))
    _left_out("cannot be loaded .* empty the cache folder")


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "of another name"])
def test_a_damaged_file_is_compiled_again(source: Path, first_use: Path, damage: str) -> None:
    """In a process of its own: loading such a file would end this one."""
    native.load(source)
    (file,) = first_use.glob("*.so")
    whole = file.read_bytes()
    middle = len(whole) // 2
    if damage == "of another name":
        file.rename(file.with_name(file.name[:-4] + "z.so"))
    else:
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        file.unlink()  # the file that this process has loaded stays as it is
        file.write_bytes({"cut": whole[:middle], "empty": b"", "flipped": flipped}[damage])
    load = f"print(native.load(pathlib.Path({str(source)!r})).answer())"
    command = [sys.executable, "-c", f"import pathlib; from dimbench.kernels import native; {load}"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "42\n"), ran.stderr
    (again,) = first_use.iterdir()
    assert again.read_bytes() != b""
    assert again.stem.endswith(files.digest(again)[: native._DIGITS])


def test_a_folder_of_another_user_is_not_loaded_from(
    source: Path, first_use: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native.load(source)
    native._done.clear()
    monkeypatch.setattr(os, "getuid", lambda: first_use.stat().st_uid + 1)
    with pytest.raises(DimbenchError, match=r"belongs to another user .* DIMBENCH_CACHE"):
        native.load(source)


def test_processes_that_compile_at_once_all_get_it(source: Path, first_use: Path) -> None:
    load = f"print(native.load(pathlib.Path({str(source)!r})).answer())"
    command = [sys.executable, "-c", f"import pathlib; from dimbench.kernels import native; {load}"]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [each.communicate(timeout=WAIT)[0] for each in running] == ["42\n"] * 3
    assert {path.suffix for path in first_use.iterdir()} == {".so"}


def test_a_file_that_another_process_is_writing_is_not_read(
    source: Path, first_use: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half, rest = "head -c 99 $output.whole > $output", f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    stall = (
        f'c++ "$@"; mkdir {tmp_path}/lock && {{ cp $output $output.whole; {half}; {rest}; mv $output.whole $output; }}'
    )
    monkeypatch.setenv("CXX", _compiler(tmp_path, f"{stall}; true"))
    load = f"print(native.load(pathlib.Path({str(source)!r})).answer())"
    command = [sys.executable, "-c", f"import pathlib; from dimbench.kernels import native; {load}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        deadline = time.monotonic() + WAIT
        while not any(path.stat().st_size == 99 for path in first_use.rglob("*.so")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        try:
            assert native.load(source).answer() == 42
        finally:
            (tmp_path / "go").touch()
        assert other.communicate(timeout=WAIT)[0] == "42\n"
    assert [path.suffix for path in first_use.iterdir()] == [".so"]
