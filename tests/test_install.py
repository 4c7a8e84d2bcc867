"""A wheel, an editable install and a bare checkout find the same things."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WEIGHTS = ROOT / "dimbench" / "data" / "weights"
SCRIPT = (
    "import dimbench, dimbench.presets as presets, dimbench.kernels.haar as haar;"
    "from dimbench import preset_files;"
    "from dimbench.bench.sweeps import all_sweeps;"
    "from dimbench.data.digits import FILE;"
    "print(dimbench.__file__, preset_files.folder(), haar.__file__, FILE.is_file(), sep='\\n');"
    "print(len(presets.all_presets()), *all_sweeps())"
)


def run(path: Path, folder: Path, *words: str) -> str:
    """Standard output of python in `folder` with `path` in front of everything installed."""
    environment = {**os.environ, "PYTHONPATH": str(path), "DIMBENCH_RESULTS": str(folder)}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def built(project: Path, folder: Path) -> Path:
    """The wheel of the project in `folder`."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(project)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def site(wheel: Path) -> Path:
    """A folder with the wheel unpacked."""
    zipfile.ZipFile(wheel).extractall(wheel.parent / "site")
    return wheel.parent / "site"


def test_the_wheel_is_small_and_holds_no_tests(wheel: Path) -> None:
    assert wheel.stat().st_size < 10_000_000
    names = zipfile.ZipFile(wheel).namelist()
    assert "dimbench/py.typed" in names
    assert not [name for name in names if "test" in name]


def test_the_other_digits_come_in_a_wheel_of_their_own(site: Path, tmp_path: Path) -> None:
    small = ("--num-images", "2", "--steps", "2", "--to", "sheet.png")
    assert "sheet.png" in run(site, tmp_path, "-m", "dimbench", "sample", "dit-digits", *small)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    words = [sys.executable, "-m", "dimbench", "sample", "sit-digits", *small]
    refused = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "sit-digits.safetensors from pip install 'dimbench[digits]'" in refused.stderr
    both = tmp_path / "both"
    shutil.copytree(site, both)
    zipfile.ZipFile(built(WEIGHTS, tmp_path)).extractall(both)
    assert {file.name for file in (both / WEIGHTS.relative_to(ROOT)).iterdir()} == {
        file.name for file in WEIGHTS.glob("*.safetensors")
    }
    assert "sheet.png" in run(both, tmp_path, "-m", "dimbench", "sample", "sit-digits", *small)


def test_wheel_and_checkout_hold_the_same(site: Path, tmp_path: Path) -> None:
    installed, checkout = run(site, tmp_path, "-c", SCRIPT).split(), run(ROOT, tmp_path, "-c", SCRIPT).split()
    assert all(str(site) in line for line in installed[:3])
    assert all(str(ROOT) in line for line in checkout[:3])
    assert installed[3:] == checkout[3:]
    assert installed[3] == "True"


def test_the_wheel_lists_its_models(site: Path, tmp_path: Path) -> None:
    words = ("-m", "dimbench", "list")
    assert run(site, tmp_path, *words, "--json") == run(ROOT, tmp_path, *words, "--json")
    assert "extra digits" in run(site, tmp_path, *words)  # whose weights are a wheel of their own


def test_the_wheel_makes_pages(site: Path, tmp_path: Path) -> None:
    records = str(ROOT / "results" / "digits.jsonl")
    assert "</html>" in run(site, tmp_path, "-m", "dimbench", "report", records, "--format", "html")


def test_the_wheel_counts(site: Path, tmp_path: Path) -> None:
    assert "96,598,228,992" in run(site, tmp_path, "-m", "dimbench", "flops", "dimsum-l2")
