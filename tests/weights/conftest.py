from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.weights.server import Behaviour, serving


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[Behaviour]:
    """A well-behaved server of 100,000 bytes."""
    with serving(Behaviour(content=bytes(k * k % 251 for k in range(100_000)))) as how:
        yield how
