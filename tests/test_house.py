"""How the parts of the project lie to each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Which rooms a room may import from. The open ones are for all, and import nothing of ours.
OPEN = {"errors", "files", "paths", "series", "units"}
ALLOWED = {
    "errors": set(),
    "files": set(),
    "paths": set(),
    "series": set(),
    "units": set(),
    "cli": {"commands"},
    "__main__": {"cli"},
    "commands": {
        "commands", "registry", "presets", "measure", "diffusion", "sampling", "quality", "data", "training", "report",
        "results", "kernels", "weights", "counting", "papers", "bench",
    },
    "registry": {"presets", "models"},
    "presets": set(),
    "results": set(),
    "models": {"layers"},
    "layers": {"layers", "kernels"},
    "kernels": {"kernels"},
    "measure": {"measure", "kernels"},
    "diffusion": {"diffusion"},
    "sampling": {"sampling", "diffusion"},
    "training": {"diffusion"},
    "quality": {"quality", "data"},
    "data": {"data"},
    # Joins networks and counters for whoever needs the cost of a registered model.
    "counting": {"registry", "presets", "measure"},
    # What papers print beside what is counted and recorded.
    "papers": {"papers", "presets", "results", "counting"},
    "report": {"report", "results", "presets", "papers"},
    # Files by name and by shape: it builds networks to compare with, but draws and evaluates nothing.
    "weights": {"weights", "presets", "registry", "measure"},
    # What a child process times: it builds a network, runs it as training or sampling would, and makes the record.
    "bench": {"bench", "presets", "registry", "measure", "diffusion", "sampling", "kernels", "results"},
}  # fmt: skip


def imports(file: Path) -> set[str]:
    """The rooms of ours that a source file imports from, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "dimbench":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("dimbench.")}
    return found - {"__version__"}


SOURCES = [
    (path.relative_to(ROOT / "dimbench").parts[0].removesuffix(".py"), path)
    for path in sorted((ROOT / "dimbench").rglob("*.py"))
    if path != ROOT / "dimbench" / "__init__.py"
] + [("kernels", path) for path in sorted((ROOT / "kernels").rglob("*.py"))]


@pytest.mark.parametrize(("room", "file"), SOURCES, ids=lambda value: getattr(value, "name", value))
def test_imports_go_one_way(room: str, file: Path) -> None:
    assert imports(file) <= ALLOWED[room] | OPEN, f"{file.relative_to(ROOT)} reaches where {room} may not"


def test_no_model_imports_another() -> None:
    for file in (ROOT / "dimbench" / "models").glob("*.py"):
        assert "dimbench.models" not in file.read_text(), file.name


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["list"],
        ["flops", "--help"],
        ["fid", "--help"],
        ["compare", "--help"],
        ["list", "--json"],
        ["weights", "list"],
        ["report", "results/digits.jsonl"],
        ["report", "results/digits.jsonl", "--format", "html"],
        ["bench", "--help"],
        ["sweep"],
        ["recipes"],
        ["table"],
        ["plot"],
        ["audit", "--help"],
    ],
)
def test_start_is_light(words: list[str]) -> None:
    script = (
        "import sys; sys.argv = ['dimbench', *sys.argv[1:]]\n"
        "from dimbench.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'numpy', 'torch_fidelity'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_report_loads_no_torch() -> None:
    for file in (ROOT / "dimbench" / "report").glob("*.py"):
        assert "import torch" not in file.read_text(), file.name
        assert "from torch" not in file.read_text(), file.name


def test_no_package_of_our_own_kernels_shadows_another() -> None:
    assert not (ROOT / "kernels" / "__init__.py").exists()
