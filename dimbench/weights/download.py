"""A file over HTTP, gone on with where an earlier attempt stopped."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, build_opener

from dimbench import __version__
from dimbench.errors import DimbenchError, plain, reason
from dimbench.files import json_object

OnBytes = Callable[[int, int | None], None]

_CHUNK = 1 << 20  # bytes
_TRIES = 5  # of a server that is busy, or sends less than a chunk at a time
_PAUSE = 0.1  # seconds, doubled after each answer of less than a chunk
_LONGEST_WAIT = 120.0  # seconds, if a busy server names more it is for the user to come again


class TransferError(Exception):
    """The file did not come whole, for a reason on the other side or on the way; what came is kept."""


class BusyError(TransferError):
    """The server asks to come again after so many `seconds`."""

    def __init__(self, words: str, seconds: float) -> None:
        super().__init__(words)
        self.seconds = seconds


@dataclass(frozen=True)
class Version:
    """What tells two states of the file at one address apart; `total` bytes, 0 where the server does not say."""

    url: str
    etag: str
    modified: str
    total: int

    def __post_init__(self) -> None:
        if [type(value) for value in (self.url, self.etag, self.modified, self.total)] != [str, str, str, int]:
            raise TypeError(f"{self} is no version of a file")

    @property
    def condition(self) -> str:
        """For If-Range, which takes no weak tags (RFC 9110, 13.1.5)."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


def download(
    url: str,
    part: Path,
    *,
    timeout: float,
    size: int = 0,
    on_bytes: OnBytes = lambda *_: None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Fill the file `part` from `url`, going on where it ends if the server still has the same file.

    A transfer that breaks is taken up again as long as that leads further, after a pause that grows while little
    comes; a busy server is asked again when it says. `timeout` is how many seconds the server may be silent; `size` in
    bytes counts where the server names none; `on_bytes(here, in_all)` follows. Raises TransferError, and DimbenchError
    where the disk is full or another process fetches the same file; what came stays in `part` to go on with.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    with _alone(part):
        furthest, little, busy = _length(part), 0, 0
        while True:
            try:
                if _attempt(url, part, timeout, size, on_bytes):
                    _note(part).unlink()
                    return
            except BusyError as answer:
                busy += 1
                if busy > _TRIES or answer.seconds > _LONGEST_WAIT:
                    raise
                sleep(answer.seconds)
            except TransferError:
                came = _length(part) - furthest
                little = 0 if came >= _CHUNK else little + 1
                if came <= 0 or little > _TRIES:
                    raise
                sleep(_PAUSE * 2**little)
            furthest = max(furthest, _length(part))


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Keeps other processes from the same part."""
    with _note(part).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DimbenchError(f"another process is fetching {part.stem}; let it end, then fetch again") from None
        try:
            yield
        finally:
            if not _length(part):
                part.unlink(missing_ok=True)
                _note(part).unlink(missing_ok=True)


def _attempt(url: str, part: Path, timeout: float, size: int, on_bytes: OnBytes) -> bool:
    """One request; whether the file is whole now, or else has to be asked for from its start."""
    begun = _begun(part, url)
    offset = _length(part) if begun else 0
    if begun and offset == begun.total:
        return True
    headers = {"User-Agent": f"dimbench/{__version__}", "Accept-Encoding": "identity"}
    if begun and offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": begun.condition}
    with _opened(url, headers, timeout) as response:
        if offset and response.status != 200 and not _continues(response, begun, offset):
            part.unlink()
            return False
        if response.headers.get_content_type() == "text/html":
            raise TransferError("the address answers with a web page instead of the file")
        if (coding := response.headers.get("Content-Encoding", "identity").lower()) not in ("", "identity"):
            raise TransferError(f"the server sends it compressed ({plain(coding)}), though asked not to")
        if response.status == 200:
            offset = 0
            begun = _version(url, response)
            _note(part).write_text(json.dumps(asdict(begun)), encoding="utf-8")
        total = (begun.total if begun else 0) or size
        _receive(response, part, offset, total, on_bytes)
        if not _length(part) and (total == 0 or response.headers.get("Content-Length") == "0"):
            raise TransferError("the server sends an empty file")
    if _length(part) < total:
        raise TransferError(f"the connection ended after {_length(part):,} of {total:,} bytes")
    return True


def _opened(url: str, headers: dict[str, str], timeout: float) -> HTTPResponse:
    try:
        return build_opener().open(Request(url, headers=headers), timeout=timeout)
    except HTTPError as error:
        if error.code == 416 and "Range" in headers:
            return error  # type: ignore[return-value]  # a response in all but its class
        words = f"the server answers {error.code} {plain(error.reason)}"
        if error.code in (429, 503) and (seconds := _retry_after(error.headers.get("Retry-After", ""))) is not None:
            raise BusyError(f"{words} and asks to come again in {seconds:.0f} s", seconds) from None
        raise TransferError(words) from None
    except URLError as error:
        raise TransferError(_words(error.reason, timeout)) from None
    except (OSError, HTTPException, ValueError) as error:
        raise TransferError(_words(error, timeout)) from None


def _retry_after(said: str) -> float | None:
    """Seconds until the server wants to be asked again (RFC 9110, 10.2.3); None where it does not say."""
    if re.fullmatch(r"\d{1,9}", said.strip(), re.ASCII):
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _receive(response: HTTPResponse, part: Path, offset: int, total: int, on_bytes: OnBytes) -> None:
    """Write what comes into `part` from `offset` on."""
    free = shutil.disk_usage(part.parent).free
    if total - offset > free:
        raise DimbenchError(
            f"{part.parent} has {free:,} bytes free and {total - offset:,} are to come; make room or set the "
            "environment variable DIMBENCH_CACHE to a folder that has it"
        )
    try:
        with part.open("ab" if offset else "wb") as file:
            for chunk in _chunks(response):
                file.write(chunk)
                offset += len(chunk)
                on_bytes(offset, total or None)
    except OSError as error:
        raise DimbenchError(
            f"cannot write to {part} ({reason(error)}); what came before is kept: make room and fetch again to go on"
        ) from None


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    try:
        while chunk := response.read1(_CHUNK):
            yield chunk
    except (OSError, HTTPException) as error:
        raise TransferError(_words(error, None)) from None


def _words(error: object, timeout: float | None) -> str:
    if isinstance(error, TimeoutError):
        return "the server was silent" + (f" for {timeout:g} s" if timeout else " for too long")
    return reason(error) if isinstance(error, BaseException) else str(error)


def _length(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _note(part: Path) -> Path:
    """What is known of the file that `part` is the beginning of."""
    return part.with_name(f"{part.name}.json")


def _begun(part: Path, url: str) -> Version | None:
    """The version that `part` is the beginning of, if it is of this address and can be told from another."""
    try:
        version = Version(**json_object(_note(part)))
    except (OSError, ValueError, TypeError):
        return None
    return version if part.is_file() and version.url == url and version.condition else None


def _version(url: str, response: HTTPResponse) -> Version:
    said = response.headers
    length = said.get("Content-Length") or "0"
    if not re.fullmatch(r"\d{1,18}", length, re.ASCII):
        raise TransferError(f"the server gives {plain(length)!r} for the length of the file")
    return Version(url, said.get("ETag", ""), said.get("Last-Modified", ""), int(length))


def _continues(response: HTTPResponse, begun: Version | None, offset: int) -> bool:
    """Whether the answer is the rest of the version begun: some servers ignore If-Range."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if begun is None or found is None or int(found[1]) != offset:
        return False
    same_total = not begun.total or found[2] in ("*", str(begun.total))
    said = _version(begun.url, response)
    return same_total and said.etag in ("", begun.etag) and said.modified in ("", begun.modified)
