"""Runs the command line in this process, as a shell would see it."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from unittest import mock

from dimbench.cli import main


@dataclass(frozen=True)
class Ran:
    code: int
    stdout: str
    stderr: str


def dimbench(*words: object) -> Ran:
    """`dimbench WORDS`: exit code and both streams."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.object(sys, "argv", ["dimbench", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    return Ran(code, out.getvalue(), err.getvalue())


def refused(code: int, *words: object) -> str:
    """Run a command that must fail with `code`, in one sentence without a traceback; return the sentence."""
    ran = dimbench(*words)
    assert ran.code == code, (ran.code, ran.stderr)
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    return ran.stderr
