from __future__ import annotations

from dataclasses import fields
from typing import Any

from dimbench.commands import options
from dimbench.commands.emit import show_entries
from dimbench.methods import METHODS
from dimbench.methods.method import Method, said
from dimbench.report.tables import Table


def run(form: options.Format = options.Form.RICH) -> None:
    """List the methods that --with takes: what each does, its settings, its source, and what it lacks here."""
    rows = [
        (name, _form(kind), kind.says, kind.wraps, kind.source, kind.absent() or "yes")
        for name, kind in METHODS.items()
    ]
    columns = ("method", "settings", "what it does", "wraps", "source", "runs here")
    show_entries(_entries, [Table(columns, rows, first_out=("source", "wraps", "settings"))], form)


def _entries() -> list[dict[str, Any]]:
    return [
        {"name": name, "settings": _settings(kind), "does": kind.says, "changes": kind.changes, "wraps": kind.wraps,
         "source": kind.source, "timed": kind.timed, "missing": kind.absent()}
        for name, kind in METHODS.items()
    ]  # fmt: skip


def _settings(kind: type[Method]) -> dict[str, Any]:
    return {field.name: field.default for field in fields(kind)}


def _form(kind: type[Method]) -> str:
    return ",".join(f"{name}={said(value)}" for name, value in _settings(kind).items()) or "none"
