"""A server of one file on the loopback that can misbehave as servers and connections do."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Behaviour:
    """`cuts`: after how many bytes each answer in turn breaks off; then none does. `ranges`: whether parts can be asked
    for; `heeds_condition`: whether If-Range is read. `pause` seconds before each kilobyte. `busy`: the
    Retry-After of each of the first answers, a 503. `more` headers overwrite others. `requests` were answered.
    """

    content: bytes = b""
    etag: str = '"one"'
    modified: str = ""
    kind: str = "application/octet-stream"
    status: int = 200
    ranges: bool = True
    heeds_condition: bool = True
    says_length: bool = True
    cuts: list[int] = field(default_factory=list)
    pause: float = 0.0
    busy: list[str] = field(default_factory=list)
    more: dict[str, str] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        how = self.server.how
        how.requests.append(dict(self.headers))
        if how.busy:
            self.send_response(503)
            self.send_header("Retry-After", how.busy.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if how.status != 200:
            self.send_error(how.status)
            return
        start = self._start(how)
        if start is not None and start >= len(how.content):
            self.send_error(416)
            return
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(how.content) - 1}/{len(how.content)}")
        body = how.content[start or 0 :]
        said = {"Content-Type": how.kind, "ETag": how.etag, "Last-Modified": how.modified}
        if how.says_length:
            said["Content-Length"] = str(len(body))
        for name, value in {**said, **how.more}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self._send(body[: how.cuts.pop(0)] if how.cuts else body, how.pause)

    def _start(self, how: Behaviour) -> int | None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not how.ranges or asked is None:
            return None
        condition = self.headers.get("If-Range")
        if how.heeds_condition and condition not in (None, how.etag, how.modified):
            return None
        return int(asked[1])

    def _send(self, body: bytes, pause: float) -> None:
        try:
            for k in range(0, len(body), 1024):
                time.sleep(pause)
                self.wfile.write(body[k : k + 1024])
        except OSError:
            pass  # the client went away

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    how: Behaviour


@contextmanager
def serving(how: Behaviour) -> Iterator[Behaviour]:
    """The behaviour with its address, served until the block ends."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.how = how
        how.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
        thread.start()
        try:
            yield how
        finally:
            server.shutdown()
            thread.join()
