"""Where the address space is limited (`ulimit -v`), torch is tried first: loading it would end in C++, wordlessly."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from dimbench import units
from dimbench.errors import DimbenchError

TRIAL = "import torch; bytearray(2**28)"  # with room to work in: a thread that finds none is waited for without end


class TorchFits(MetaPathFinder):
    """Before torch is imported, a process under the same limit imports it; where that fails, so does the import, with a
    DimbenchError."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None: where torch lies is left to others."""
        if name == "torch" and self in sys.meta_path:
            sys.meta_path.remove(self)
            if subprocess.run([sys.executable, "-P", "-c", TRIAL], capture_output=True).returncode:
                raise DimbenchError(
                    f"torch cannot be loaded and work in the address space of {units.size(self.limit)} that "
                    "`ulimit -v` leaves; raise that limit, or take it away"
                )
        return None


def watch() -> None:
    """Let imports of torch be tried first where this process has such a limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and "torch" not in sys.modules:
        sys.meta_path.insert(0, TorchFits(limit))
