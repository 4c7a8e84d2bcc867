"""The words that all commands share, and the older ones that they still understand for them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from dimbench.errors import UsageError


class Form(StrEnum):
    """What tables are printed as."""

    RICH = "rich"
    CSV = "csv"
    MARKDOWN = "markdown"
    LATEX = "latex"
    HTML = "html"
    JSON = "json"


_SHORT = {f"--{form}": form.value for form in (Form.JSON, Form.CSV, Form.MARKDOWN)}
# What --as chooses among, which --format of sample and --to of weights convert were for.
_KINDS = ("npz", "png", "latents", "official", "diffusers")


class Command(TyperCommand):
    """Takes --json, --csv and --markdown for --format, --model NAME for NAME, and --out or --html for --to; refuses
    NaN and infinities."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {word: each for each in self.params for word in each.opts if word.startswith("-")}
        has_form = "--format" in known and known["--format"].name == "form"
        found: list[str] = []
        names: list[str] = []
        forms: dict[str, str] = {}
        for words in _options(args, dict.fromkeys(("--model", "--out", "--html")) | known):
            head, _, value = words[0].partition("=")
            value = words[1] if len(words) > 1 else value
            if head == "--model" and head not in known:
                names.append(value)
                continue
            if head in ("--format", "--to") and value in _KINDS and "--as" in known:
                words = ["--as", value]
            elif has_form and head in (*_SHORT, "--format"):
                words = ["--format", _SHORT.get(head, value)]
                forms[words[1]] = head if head in _SHORT else f"--format {value}"
            elif head in ("--out", "--html") and "--to" in known and not (head in known and _for_records(value)):
                words = ["--to", value]
            found += words
        if len(forms) > 1:
            raise UsageError(f"{' and '.join(forms.values())} were both given; give one format")
        left = super().parse_args(ctx, found + names)
        for name, value in ctx.params.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"--{name.replace('_', '-')} {value} is no number to work with; give a finite one")
        return left


def _for_records(place: str) -> bool:
    return Path(place).suffix == ".jsonl" or place == os.devnull


def _options(args: Sequence[str], known: dict[str, Any]) -> Iterator[list[str]]:
    """The words of a command line, an option together with its value where that stands behind it."""
    words = iter(args)
    for word in words:
        if word == "--":
            yield [word, *words]
        elif word in known and not getattr(known[word], "is_flag", False) and (value := next(words, None)) is not None:
            yield [word, value]
        else:
            yield [word]
