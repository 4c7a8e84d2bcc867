"""Which published files there are, and where each lies on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from dimbench import names, paths, presets
from dimbench.errors import UsageError
from dimbench.presets import Checkpoint, Published


@dataclass(frozen=True)
class Entry:
    """One published file; `owner` is the variant it belongs to, or the shared purpose."""

    owner: str
    file: Published

    @property
    def name(self) -> str:
        return self.file.file

    @property
    def path(self) -> Path:
        return path_of(self.file)

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The file as weights of a family; None where it is shared."""
        return self.file if isinstance(self.file, Checkpoint) else None

    @property
    def ships(self) -> bool:
        return self.checkpoint is not None and self.checkpoint.ships

    @property
    def official_name(self) -> str:
        """What its authors call it."""
        return self.file.original or self.name

    def is_called(self, pattern: str) -> bool:
        own = (self.owner, self.name, self.official_name)
        return any(fnmatchcase(names.folded(name), names.folded(pattern)) for name in own)


def path_of(file: Published) -> Path:
    """Where the file is looked for."""
    ships = isinstance(file, Checkpoint) and file.ships
    return (paths.data_folder() / "weights" if ships else paths.weights_folder()) / file.file


def home(file: Published) -> str:
    """Where the file is to be had, whether it is here or not."""
    if isinstance(file, Checkpoint) and file.ships:
        return "pip install 'dimbench[digits]'"
    return file.url or file.page or "an unknown address"


def everything() -> list[Entry]:
    """All files: those of the families, then the shared ones."""
    checkpoints = [Entry(p.name, file) for p in presets.all_presets().values() for file in p.checkpoints]
    return checkpoints + [Entry(name, file) for name, group in presets.shared_files().items() for file in group.files]


def match(patterns: Sequence[str]) -> list[Entry]:
    """The files of several names or wildcards, each once; a name is a model's, a shared purpose's or a file's.

    UsageError for one without a match.
    """
    chosen: dict[str, Entry] = {}
    for pattern in patterns:
        found = [entry for entry in everything() if entry.is_called(pattern)]
        if not found:
            raise UsageError(f"no published file matches {pattern!r}; {_hint(pattern)}")
        chosen.update((entry.name, entry) for entry in found)
    return list(chosen.values())


def _hint(pattern: str) -> str:
    if any(names.folded(name) == names.folded(pattern) for name in presets.all_presets()):
        return "none is known for this model"
    known = [name for entry in everything() for name in (entry.owner, entry.name)]
    return names.meant(pattern, known, "see `dimbench weights list`")


def classifier_of(family: str, side: int) -> str:
    """What the classifier that guides a family's images is called as a shared purpose, whether there is one or not."""
    return f"{family}-classifier-{side}"


def shared(name: str) -> Path | None:
    """The one file of a shared purpose, or the folder of its files, where all are here; else None."""
    if name not in presets.shared_files():
        return None
    found = [path_of(file) for file in presets.shared_files()[name].files]
    if not all(path.is_file() for path in found):
        return None
    return found[0] if len(found) == 1 else found[0].parent
