"""Whatever servers and connections do, what arrives is the file or a reason."""

from __future__ import annotations

import resource
import shutil
import socket
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path

import pytest

from dimbench.errors import DimbenchError
from dimbench.weights.download import TransferError, download
from tests.weights.server import Behaviour

WAIT = 5.0  # seconds; far more than the loopback needs


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "file.part"


def ranges(server: Behaviour) -> list[str | None]:
    return [request.get("Range") for request in server.requests]


def interrupt(server: Behaviour, part: Path, kept: int) -> None:
    """Leave `part` with the first bytes, as Ctrl-C does."""

    def stop(here: int, _: int | None) -> None:
        if here == kept:
            raise KeyboardInterrupt

    server.cuts = [kept]
    with pytest.raises(KeyboardInterrupt):
        download(server.url, part, timeout=WAIT, on_bytes=stop)
    assert part.read_bytes() == server.content[:kept]
    server.requests.clear()


def test_the_file_arrives_and_progress_is_told(server: Behaviour, part: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    download(server.url, part, timeout=WAIT, on_bytes=lambda here, in_all: seen.append((here, in_all)))
    assert part.read_bytes() == server.content
    assert seen[-1] == (100_000, 100_000)
    assert [here for here, _ in seen] == sorted(here for here, _ in seen)
    assert ranges(server) == [None]
    assert list(part.parent.iterdir()) == [part]


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server: Behaviour, part: Path) -> None:
    server.cuts = [30_000, 20_000]
    download(server.url, part, timeout=WAIT)
    assert part.read_bytes() == server.content
    assert ranges(server) == [None, "bytes=30000-", "bytes=50000-"]
    assert server.requests[1]["If-Range"] == '"one"'


@pytest.mark.parametrize(
    "tags", [('"one"', ""), ("", "Mon, 06 Jan 2025 08:00:00 GMT"), ('W/"one"', "Mon, 06 Jan 2025 08:00:00 GMT")]
)
def test_a_later_attempt_goes_on(server: Behaviour, part: Path, tags: tuple[str, str]) -> None:
    server.etag, server.modified = tags
    interrupt(server, part, 40_000)
    download(server.url, part, timeout=WAIT)
    assert part.read_bytes() == server.content
    assert ranges(server) == ["bytes=40000-"]
    assert not server.requests[0]["If-Range"].startswith("W/")


def test_without_ranges_it_starts_again(server: Behaviour, part: Path) -> None:
    server.ranges = False
    interrupt(server, part, 40_000)
    download(server.url, part, timeout=WAIT)
    assert part.read_bytes() == server.content


@pytest.mark.parametrize("heeds", [True, False])
@pytest.mark.parametrize("length", [100_000, 120_000, 30_000])
def test_a_file_that_changed_meanwhile_is_not_mixed(server: Behaviour, part: Path, heeds: bool, length: int) -> None:
    interrupt(server, part, 40_000)
    server.etag, server.content, server.heeds_condition = '"two"', bytes(length), heeds
    download(server.url, part, timeout=WAIT)
    assert part.read_bytes() == server.content


def test_what_cannot_be_told_from_another_version_is_not_gone_on_with(server: Behaviour, part: Path) -> None:
    server.etag = ""
    interrupt(server, part, 40_000)
    download(server.url, part, timeout=WAIT)
    assert part.read_bytes() == server.content
    assert ranges(server) == [None]


def test_a_part_of_another_address_is_not_gone_on_with(server: Behaviour, part: Path) -> None:
    interrupt(server, part, 40_000)
    download(f"{server.url}/other", part, timeout=WAIT)
    assert part.read_bytes() == server.content
    assert ranges(server) == [None]


def test_a_whole_part_needs_no_further_byte(server: Behaviour, part: Path) -> None:
    interrupt(server, part, 40_000)
    part.write_bytes(server.content)
    download(server.url, part, timeout=WAIT)
    assert part.read_bytes() == server.content
    assert server.requests == []


def test_a_server_that_names_no_length(server: Behaviour, part: Path) -> None:
    server.says_length = False
    server.cuts = [40_000, 0]
    with pytest.raises(TransferError, match="ended after"):
        download(server.url, part, timeout=WAIT, size=100_000)
    download(server.url, part, timeout=WAIT, size=100_000)
    assert part.read_bytes() == server.content


@pytest.mark.parametrize("size", [90_000, 110_000])
def test_a_size_that_is_not_the_file_s_ends_too(server: Behaviour, part: Path, size: int) -> None:
    server.says_length = False
    if size < len(server.content):
        download(server.url, part, timeout=WAIT, size=size)
        assert part.read_bytes() == server.content
    else:
        with pytest.raises(TransferError, match="ended after 100,000 of 110,000"):
            download(server.url, part, timeout=WAIT, size=size)


def test_two_fetches_at_once_do_not_mix(server: Behaviour, part: Path) -> None:
    def another(here: int, _: int | None) -> None:
        with pytest.raises(DimbenchError, match="another process is fetching file"):
            download(server.url, part, timeout=WAIT)

    download(server.url, part, timeout=WAIT, on_bytes=another)
    assert part.read_bytes() == server.content
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"status": 404}, "answers 404"),
        ({"status": 503}, "answers 503"),
        ({"kind": "text/html; charset=utf-8"}, "a web page instead of the file"),
        ({"pause": 1.0}, "silent"),
        ({"cuts": [0]}, "ended after 0 of"),
    ],
)
def test_what_servers_do_is_said(server: Behaviour, part: Path, how: dict[str, object], reason: str) -> None:
    for name, value in how.items():
        setattr(server, name, value)
    with pytest.raises(TransferError, match=reason):
        download(server.url, part, timeout=0.2)


def dead_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_proxies_are_used(server: Behaviour, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    download("http://weights.invalid/file", part, timeout=WAIT)
    assert part.read_bytes() == server.content


def test_nobody_there(part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TransferError, match="refused"):
        download(f"http://127.0.0.1:{dead_port()}/file", part, timeout=WAIT)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port()}")
    with pytest.raises(TransferError, match="refused"):
        download("http://weights.invalid/file", part, timeout=WAIT)
    monkeypatch.delenv("http_proxy")
    with pytest.raises(TransferError):
        download("no address", part, timeout=WAIT)
    assert not part.exists()


def test_a_full_disk_keeps_what_came(server: Behaviour, part: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(DimbenchError, match=r"cannot write to .*file\.part.*fetch again") as caught:
            download(server.url, part, timeout=WAIT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    kept = part.read_bytes()
    assert kept == server.content[: len(kept)]
    assert kept
    download(server.url, part, timeout=WAIT)
    assert part.read_bytes() == server.content
    assert ranges(server) == [None, f"bytes={len(kept)}-"]


def test_too_little_room_is_said_at_once(server: Behaviour, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 99_999, 99_999))
    with pytest.raises(DimbenchError, match="99,999 bytes free and 100,000 are to come"):
        download(server.url, part, timeout=WAIT)
    assert not part.exists()


def test_a_busy_server_is_asked_again_when_it_says(server: Behaviour, part: Path) -> None:
    slept: list[float] = []
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    server.busy = ["3", soon, "0"]
    download(server.url, part, timeout=WAIT, sleep=slept.append)
    assert part.read_bytes() == server.content
    assert slept[::2] == [3, 0]
    assert 90 < slept[1] <= 100
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("asked", "reason"),
    [("3600", "come again in 3600 s"), ("soon", "answers 503"), ("-1", "answers 503"), ("²", "503")],
)
def test_a_server_that_stays_busy_is_left_alone(server: Behaviour, part: Path, asked: str, reason: str) -> None:
    slept: list[float] = []
    server.busy = [asked]
    with pytest.raises(TransferError, match=reason):
        download(server.url, part, timeout=WAIT, sleep=slept.append)
    server.busy = ["1"] * 100
    with pytest.raises(TransferError, match="answers 503"):
        download(server.url, part, timeout=WAIT, sleep=slept.append)
    assert set(slept) == {1}
    assert 0 < len(server.busy) < 97


def test_answers_of_a_few_bytes_are_asked_for_ever_more_slowly(server: Behaviour, part: Path) -> None:
    slept: list[float] = []
    server.cuts = [1000 * (k + 1) for k in range(50)]
    with pytest.raises(TransferError, match="ended after"):
        download(server.url, part, timeout=WAIT, sleep=slept.append)
    assert len(server.requests) == 1 + len(slept) < 10
    assert all(later == 2 * earlier for earlier, later in pairwise(slept))
    assert part.read_bytes() == server.content[: part.stat().st_size]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"Content-Encoding": "gzip"}, r"compressed \(gzip\)"),
        ({"Content-Length": "many"}, "'many' for the length"),
        ({"Content-Length": "-5"}, "'-5' for the length"),
        ({"Content-Length": "0"}, "an empty file"),
    ],
)
def test_headers_that_promise_no_file_are_said(
    server: Behaviour, part: Path, more: dict[str, str], reason: str
) -> None:
    server.more = more
    with pytest.raises(TransferError, match=reason):
        download(server.url, part, timeout=WAIT, size=100_000)


@pytest.mark.parametrize("says_length", [True, False])
def test_an_empty_answer_is_called_empty(server: Behaviour, part: Path, says_length: bool) -> None:
    server.content, server.says_length = b"", says_length
    with pytest.raises(TransferError, match="an empty file"):
        download(server.url, part, timeout=WAIT)
    assert not part.exists()
