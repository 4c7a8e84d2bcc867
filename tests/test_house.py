"""How the parts of the project lie to each other."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dimbench.counting import kept

ROOT = Path(__file__).parent.parent

# The floors of the house from the top: a room imports from floors below its own, and from rooms of its own floor where
# BESIDE says so. What all may use stands at the bottom.
FLOORS = (
    {"__main__", "cli"},
    {"commands"},
    {"verbs", "doctor"},
    {"comparing", "papers", "report"},
    {"bench", "quality", "sampling", "counting", "training", "weights"},
    {"backbone", "from_diffusers", "own", "results", "record_places", "data", "progress"},
    {"arguments", "diffusers_networks", "diffusion", "foreign", "methods", "presets", "preset_files"},
    {"models"},
    {"layers"},
    {"kernels"},
    {
        "address_space",
        "conditions",
        "errors",
        "escaping",
        "files",
        "hub",
        "image_size",
        "launcher",
        "meta",
        "names",
        "own_code",
        "paths",
        "processor",
        "stats",
        "units",
    },
)
BESIDE = {
    ("__main__", "cli"),
    ("doctor", "verbs"),
    ("report", "papers"),
    ("report", "comparing"),
    ("bench", "sampling"),
    ("bench", "counting"),
    ("quality", "sampling"),
    ("sampling", "counting"),
    ("record_places", "results"),
    ("backbone", "own"),
    ("own", "backbone"),
    ("backbone", "from_diffusers"),
    ("from_diffusers", "backbone"),
    ("foreign", "arguments"),
    ("methods", "arguments"),
    ("methods", "diffusers_networks"),
    ("diffusers_networks", "preset_files"),
    ("diffusers_networks", "presets"),
    ("presets", "preset_files"),
    ("preset_files", "presets"),
    ("bench", "weights"),
    ("quality", "weights"),
    ("sampling", "weights"),
    ("training", "weights"),
    ("weights", "counting"),
    ("meta", "errors"),
    ("names", "errors"),
    ("own_code", "files"),
    ("image_size", "errors"),
    ("files", "errors"),
    ("hub", "errors"),
    ("launcher", "errors"),
    ("paths", "errors"),
    ("address_space", "errors"),
    ("address_space", "units"),
}
APART = [("models", "diffusion"), ("counting", "diffusion"), ("counting", "quality"), ("quality", "counting")]


def floor(room: str) -> int:
    return next(k for k, rooms in enumerate(FLOORS) if room in rooms)


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
    if path not in (ROOT / "dimbench" / "__init__.py", ROOT / "dimbench" / "bench" / "__init__.py")  # the public names
] + [("kernels", path) for path in sorted((ROOT / "kernels").rglob("*.py"))]


@pytest.mark.parametrize(("room", "file"), SOURCES, ids=lambda value: getattr(value, "name", value))
def test_imports_go_one_way(room: str, file: Path) -> None:
    for other in imports(file) - {room}:
        below = floor(other) > floor(room) or (room, other) in BESIDE
        assert below, f"{file.relative_to(ROOT)} reaches from {room} to {other}"
        assert (room, other) not in APART, file


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
        ["sample", "--help"],
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
    loads_none(words, {"torch", "pandas", "matplotlib", "numpy", "torch_fidelity", "diffusers", "transformers"})


def test_a_report_loads_nothing_that_draws() -> None:
    loads_none(["report", "results/digits.jsonl"], {"dimbench.sampling", "dimbench.quality.networks"})


def loads_none(words: list[str], heavy: set[str]) -> None:
    """The command runs in a fresh process and has none of these modules in the end."""
    script = (
        "import json, sys; heavy = set(json.loads(sys.argv.pop(1))); sys.argv = ['dimbench', *sys.argv[1:]]\n"
        "from dimbench.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    ran = [sys.executable, "-c", script, json.dumps(sorted(heavy)), *words]
    done = subprocess.run(ran, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(kept.here() != kept.shipped_with(), reason="no count that ships is of these versions")
@pytest.mark.parametrize(
    "words",
    [
        ["flops", "*"],
        ["flops", "dit-xl2", "--rule", "dit-paper", "--json"],
        ["params", "*"],
        ["audit"],
        ["table", "dit-4"],
        ["plot", "gflops-fid"],
        ["choose", "dit-s2", "udit-s"],
    ],
    ids=" ".join,
)
def test_what_is_counted_already_needs_no_torch(words: list[str], tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "plot.png")] if words[0] == "plot" else []
    loads_none([*words, *out], {"torch", "pandas", "torch_fidelity", "diffusers", "transformers"})


@pytest.mark.parametrize(("words", "loaded"), [(["--help"], set()), (["list"], {"list_models", "emit"})])
def test_only_the_command_that_was_asked_for_is_imported(words: list[str], loaded: set[str]) -> None:
    files = {path.stem for path in (ROOT / "dimbench" / "commands").glob("*.py")}
    others = files - loaded - {"__init__", "root", "options", "dialect"}
    loads_none(words, {f"dimbench.commands.{name}" for name in others})


@pytest.mark.parametrize(
    ("words", "foreign"),
    [
        (["flops", "dit-digits", "--batch", "2"], {"diffusers", "transformers", "pandas", "matplotlib"}),
        (["flops", "dit-xl2-diffusers", "--batch", "2"], {"pandas", "matplotlib"}),
        (["sample", "dit-digits", "--num-images", "1", "--steps", "2"], {"diffusers", "transformers", "pandas"}),
        (["bench", "dit-digits", "--budget", "0.2"], {"diffusers", "transformers", "pandas"}),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_libraries_of_networks_are_loaded_for_those_alone(words: list[str], foreign: set[str], tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "sheet.png")] if words[0] == "sample" else []
    loads_none([*words, *out], foreign)


def test_report_loads_no_torch() -> None:
    for file in (ROOT / "dimbench" / "report").glob("*.py"):
        assert "import torch" not in file.read_text(), file.name
        assert "from torch" not in file.read_text(), file.name


def test_nothing_private_of_the_command_line_s_library_is_used() -> None:
    """What it keeps to itself is called otherwise in other versions that we allow."""
    files = [ROOT / "dimbench/cli.py", *(ROOT / "dimbench/commands").glob("*.py")]
    assert not [file for file in files if re.search(r"\b(ctx|typer(\.\w+)*)\._", file.read_text(encoding="utf-8"))]


def test_no_package_of_our_own_kernels_shadows_another() -> None:
    assert not (ROOT / "kernels" / "__init__.py").exists()


def test_no_name_stands_twice() -> None:
    """Files below the commands, and classes but for what every family calls alike (Config, Block)."""
    below = [path for room, path in SOURCES if room != "commands" and path.name != "__init__.py"]
    rooms = [path.name for path in below if path.is_relative_to(ROOT / "dimbench") and path.parent.name != "models"]
    assert sorted(rooms) == sorted(set(rooms))
    classes = [
        node.name
        for room, path in SOURCES
        if room not in ("models", "kernels")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    ]
    assert sorted(classes) == sorted(set(classes))
