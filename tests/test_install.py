"""A wheel, an editable install and a bare checkout find the same things."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel unpacked, as pip installs it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    (wheel,) = folder.glob("*.whl")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(folder / "site"),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    return folder / "site"


def test_wheel_and_checkout_hold_the_same(site: Path, tmp_path: Path) -> None:
    installed, checkout = run(site, tmp_path, "-c", SCRIPT).split(), run(ROOT, tmp_path, "-c", SCRIPT).split()
    assert all(str(site) in line for line in installed[:3])
    assert all(str(ROOT) in line for line in checkout[:3])
    assert installed[3:] == checkout[3:]
    assert installed[3] == "True"


def test_the_wheel_lists_its_models(site: Path, tmp_path: Path) -> None:
    assert run(site, tmp_path, "-m", "dimbench", "list") == run(ROOT, tmp_path, "-m", "dimbench", "list")


def test_the_wheel_makes_pages(site: Path, tmp_path: Path) -> None:
    records = str(ROOT / "results" / "digits.jsonl")
    assert "</html>" in run(site, tmp_path, "-m", "dimbench", "report", records, "--format", "html")


def test_the_wheel_counts(site: Path, tmp_path: Path) -> None:
    assert "96,598,228,992" in run(site, tmp_path, "-m", "dimbench", "flops", "dimsum-l2")
