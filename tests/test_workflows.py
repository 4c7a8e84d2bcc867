"""The workflows, ours and those that a page offers, call commands and options that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dimbench import cli

ROOT = Path(__file__).parent.parent
FILES = [*sorted((ROOT / ".github" / "workflows").glob("*.yml")), ROOT / "docs" / "comparing.md"]


def commands(text: str) -> list[str]:
    """What follows `dimbench` in the lines of YAML: the words of one command each."""
    return re.findall(r"(?:^|run: |&& |-m )\s*dimbench (.+?)(?= && |$)", text, re.M)


def in_yaml(file: Path) -> str:
    text = file.read_text()
    return "\n".join(re.findall(r"```yaml\n(.*?)```", text, re.S)) if file.suffix == ".md" else text


COMMANDS = [(file.name, line) for file in FILES for line in commands(in_yaml(file))]


@pytest.mark.parametrize(("file", "line"), COMMANDS)
def test_its_commands_parse(file: str, line: str) -> None:
    name, *words = shlex.split(line)
    cli.loaded(name).make_context(name, words)


def test_commands_are_found_in_every_place_they_may_stand() -> None:
    assert commands("run: dimbench list\n  dimbench a && python -m dimbench b 'c'\n# the dimbench of old") == [
        "list", "a", "b 'c'",
    ]  # fmt: skip


def test_the_gate_is_on_exact_metrics() -> None:
    (gate,) = [line for file, line in COMMANDS if file == "costs.yml" and line.startswith("compare ")]
    assert re.findall(r"--fail-if (\S+)", gate) == ["macs", "params"]
