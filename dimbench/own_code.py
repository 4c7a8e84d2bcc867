"""The code that a network of the user's own consists of, read without being run."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from dimbench.files import digest

_VERSIONED = {"dimbench", "diffusers"}  # also where they are no installed files


def digest_of(place: str) -> str | None:
    """SHA-256 of FILE.py or PACKAGE.MODULE and of all that it imports from beside it, also where it does so late; None
    where there is none, or where it is installed and has a version."""
    root, files = _located(place)
    if not files or "site-packages" in root.parts:
        return None
    return hashlib.sha256("".join(map(digest, sorted(_reached(root, files)))).encode()).hexdigest()


def _located(place: str) -> tuple[Path, list[Path]]:
    """The folder that its imports are looked for in, and the files that importing it runs, its own the last."""
    if place.endswith(".py"):
        file = Path(place).resolve()
        return file.parent, [file] if file.is_file() else []
    first, *rest = place.split(".")
    try:
        spec = find_spec(first)
    except (ImportError, ValueError):
        spec = None
    folders = [*(spec.submodule_search_locations or ()), spec.origin] if spec else []
    root = Path(folders[0] or "").resolve().parent if folders else Path()
    return root, _files(root, [first, *rest]) if folders else []


def _reached(root: Path, files: Sequence[Path]) -> set[Path]:
    seen, todo = set(files), [*files]
    while todo:
        file = todo.pop()
        for parts in _imported(file, root):
            new = set(_files(root, parts)) - seen
            seen |= new
            todo += new
    return seen


def _imported(file: Path, root: Path) -> Iterator[list[str]]:
    """The dotted names that a file imports, as parts; relative ones from `root` on."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return  # whoever imports it says what is wrong with it
    package = file.parent.relative_to(root).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) + 1 - node.level]] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from ([*base, alias.name] for alias in node.names)


def _files(root: Path, parts: Sequence[str]) -> list[Path]:
    """The files that importing a dotted name runs: of each package on the way, and its own if it is a module's."""
    if not parts or parts[0] in _VERSIONED:
        return []
    found = []
    for many in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:many])
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                found.append(file)
                break
    return found
