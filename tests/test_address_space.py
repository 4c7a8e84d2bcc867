from __future__ import annotations

import resource
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dimbench import address_space
from dimbench.address_space import TorchFits
from dimbench.errors import DimbenchError


@pytest.mark.parametrize("code", [0, 1, -6])  # -6: C++ gave up
def test_torch_is_tried_once_by_another_process(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[list[str]] = []

    def ran(words: list[str], **_: object) -> SimpleNamespace:
        tried.append(words)
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(subprocess, "run", ran)
    monkeypatch.setattr(sys, "meta_path", [watcher := TorchFits(3_000_000_000), *sys.meta_path])
    assert watcher.find_spec("numpy") is None
    assert tried == []
    if code:
        with pytest.raises(DimbenchError, match=r"address space of 3\.00 GB that `ulimit -v` leaves; raise that limit"):
            watcher.find_spec("torch")
    else:
        assert watcher.find_spec("torch") is None
    watcher.find_spec("torch")
    assert len(tried) == 1


@pytest.mark.parametrize(("limit", "watched"), [(resource.RLIM_INFINITY, False), (3_000_000_000, True)])
def test_only_a_limited_process_watches(limit: int, watched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "modules", {name: module for name, module in sys.modules.items() if name != "torch"})
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    address_space.watch()
    assert isinstance(sys.meta_path[0], TorchFits) is watched
