"""Measuring on a device. The room has the verb's name, so it can be called as one: dimbench.bench("dit-s2")."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Verb(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """dimbench.verbs.bench."""
        from dimbench.verbs import bench

        return bench(*args, **kwargs)


sys.modules[__name__].__class__ = _Verb
