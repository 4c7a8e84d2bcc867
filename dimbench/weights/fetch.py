"""From a published file's entry to the file on this machine."""

from __future__ import annotations

from dimbench.errors import DimbenchError
from dimbench.weights import ledger
from dimbench.weights.catalog import Entry, home
from dimbench.weights.download import OnBytes, TransferError, download


def fetch(entry: Entry, *, timeout: float, offline: bool = False, on_bytes: OnBytes = lambda *_: None) -> str:
    """Bring the file here if it is not, and return in a word what was done: "fetched", "was here" or "ships".

    DimbenchError says where to copy it from by hand, and to what place, when it does not come.
    """
    if entry.path.is_file():
        if entry.ships:
            return "ships"
        if ledger.state(entry.path, entry.file) != "verified":
            ledger.check(entry.path, entry.file)
        return "was here"
    if entry.ships:
        raise DimbenchError(f"{entry.name} comes with a package of its own: {home(entry.file)}")
    if offline:
        raise DimbenchError(by_hand(entry, "--offline"))
    if not entry.file.url:
        raise DimbenchError(by_hand(entry, "the page has to be opened in a browser" if entry.file.page else ""))
    part = ledger.part_of(entry.path)
    try:
        download(entry.file.url, part, timeout=timeout, size=entry.file.size, on_bytes=on_bytes)
    except TransferError as reason:
        kept = f", and the {part.stat().st_size:,} bytes that came are kept" if part.is_file() else ""
        raise DimbenchError(by_hand(entry, f"{reason}{kept}")) from None
    ledger.settle(part, entry.path, entry.file.url, entry.file)
    return "fetched"


def by_hand(entry: Entry, reason: str) -> str:
    """One sentence: what did not come, why, and from where to where to copy it."""
    why = f" ({reason})" if reason else ""
    if not (entry.file.url or entry.file.page):
        return f"{entry.name} was not fetched{why}: its address is unknown; if you have it, copy it to {entry.path}"
    places = " or ".join(dict.fromkeys(place for place in (entry.file.url, entry.file.page) if place))
    what = f"its {entry.official_name}" if entry.official_name != entry.name else "it"
    return f"{entry.name} was not fetched{why}: copy {what} by hand from {places} to {entry.path}"
