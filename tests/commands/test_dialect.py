"""One vocabulary for all commands, and the older words that they still take."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dimbench import cli, presets
from dimbench.commands import options
from dimbench.diffusion.process import find_process
from tests.commands.processes import finish, start
from tests.console import dimbench, refused

LEAVES = [
    (name, *leaf)
    for name in cli.COMMANDS
    for leaf in (getattr(cli.loaded(name), "commands", None) or {"": cli.loaded(name)}).items()
]


def parsed(*words: object) -> dict[str, Any]:
    """What a command is called with."""
    name, *rest = map(str, words)
    return dict(cli.loaded(name).make_context(name, rest).params)


@pytest.mark.parametrize("words", ["--presets own.toml list mine --json", "list mine --json --presets own.toml"])
def test_presets_of_ones_own_are_named_before_or_behind_the_command(words: str, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('backbone = "package.module:Net"\n[variants.mine]\n')
    assert [each["name"] for each in json.loads(finish(start(tmp_path, *words.split())))] == ["mine"]


@pytest.mark.parametrize("words", ["cost --presets own.toml claims --json", "cost claims --json --presets own.toml"])
def test_options_of_every_command_stand_before_a_subcommand_too(words: str, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('backbone = "package.module:Net"\n')
    process = start(tmp_path, *words.split())
    assert "own.toml is no preset file: it has no variants" in process.communicate()[1]


@pytest.mark.parametrize(
    ("older", "today"),
    [
        ("flops dit-s2 --json", "flops dit-s2 --format json"),
        ("flops dit-s2 --csv", "flops dit-s2 --format csv"),
        ("audit --markdown --html a.html", "audit --format markdown --to a.html"),
        ("fid --model dit-digits --steps 2", "fid dit-digits --steps 2"),
        ("fid --model=dit-digits --steps=2", "fid --steps 2 dit-digits"),
        ("sweep batch --model dit-s2 --model dit-b2", "sweep batch dit-s2 dit-b2"),
        ("sample dit-digits --out a.png", "sample dit-digits --to a.png"),
        ("sample dit-digits --format png --out a", "sample dit-digits --as png --to a"),
        ("plot gflops-fid --out=a.svg", "plot gflops-fid --to a.svg"),
        ("report a.jsonl --out a.md", "report a.jsonl --to a.md"),
        ("stats images --out a.npz", "stats images --to a.npz"),
    ],
)
def test_older_words_mean_what_they_meant(older: str, today: str) -> None:
    assert parsed(*older.split()) == parsed(*today.split())


def test_records_go_where_out_says_beside_what_is_made_for_a_person() -> None:
    given = parsed("sample", "dit-digits", "--to", "a.png", "--out", "a.jsonl")
    assert (given["to"], given["out"]) == (Path("a.png"), Path("a.jsonl"))


def test_a_value_that_looks_like_an_option_stays_one() -> None:
    assert parsed("compare", "dit-s2", "--a", "--csv")["a"] == "--csv"
    assert parsed("flops", "--", "--json")["names"] == ["--json"]


def test_two_formats_are_one_too_many() -> None:
    assert "--json and --csv" in refused(2, "flops", "dit-s2", "--json", "--csv")
    assert dimbench("recipes", "dit-xl2-256-cfg1.5", "--json", "--format", "json").code == 0


@pytest.mark.parametrize("form", options.Form)
def test_every_form_can_be_asked_for(form: options.Form) -> None:
    ran = dimbench("params", "dit-s2", "--format", form)
    assert ran.code == 0
    assert "dit-s2" in ran.stdout
    if form is options.Form.JSON:
        assert json.loads(ran.stdout)[0]["metrics"]["params"] > 1e7


@pytest.mark.parametrize(("name", "sub", "command"), LEAVES, ids=[f"{name} {sub}" for name, sub, _ in LEAVES])
def test_a_word_means_the_same_in_every_command(name: str, sub: str, command: Any) -> None:
    known = {word: each for each in command.params for word in each.opts}
    assert {"--csv", "--markdown", "--html", "--model"}.isdisjoint(known)
    if "--out" in known:
        assert "ecords" in known["--out"].help or "JSON" in known["--out"].help
    shown = "Table(" in inspect.getsource(inspect.getmodule(command.callback))  # type: ignore[arg-type]
    if shown and (name, sub) != ("weights", ""):
        assert "--format" in known


def test_the_samplers_are_listed() -> None:
    listed = parsed_help("sample", "--sampler")
    for preset in filter(lambda each: each.diffusion, presets.all_presets().values()):
        for sampler in find_process(preset.diffusion).samplers:
            assert sampler in listed


def parsed_help(name: str, option: str) -> str:
    return next(each.help for each in cli.loaded(name).params if option in each.opts)


@pytest.mark.parametrize("words", [("-h",), ("flops", "-h"), ("weights", "list", "-h")])
def test_help_is_short_to_type(words: tuple[str, ...]) -> None:
    ran = dimbench(*words)
    assert ran.code == 0
    assert "Usage" in ran.stdout


def test_commands_stand_in_groups() -> None:
    page = dimbench("--help").stdout
    places = [page.index(f"─ {group} ─") for group in cli.GROUPS]
    assert places == sorted(places)
    assert all(f" {name} " in page for name in cli.COMMANDS)


def told(words: str) -> list[str]:
    """What the shell is told when the key is pressed behind these words."""
    known = {"_DIMBENCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    return CliRunner().invoke(cli.app, [], env=known, prog_name="dimbench").stdout.split()


@pytest.mark.parametrize(
    "words", ["flops", "flops dit-s2", "choose", "choose --beside", "fid", "plot gflops-fid", "sweep batch", "list"]
)
def test_the_shell_is_told_the_models(words: str) -> None:
    assert told(f"dimbench {words} dit-xl") == [name for name in presets.all_presets() if name.startswith("dit-xl")]


def test_the_shell_is_told_the_recipes() -> None:
    found = [name for name in presets.recipes() if name.startswith("dit-xl2-512")]
    assert told("dimbench fid --recipe dit-xl2-512") == told("dimbench recipes dit-xl2-512") == found


def test_the_version_names_torch() -> None:
    assert ", torch 2." in dimbench("--version").stdout


@pytest.mark.parametrize(
    ("words", "key", "first"),
    [
        ("list dit-s2 sit-s*", "name", {"dit-s2", "sit-s2"}),
        ("recipes dit-xl2-256-cfg sit-xl2-256*", "name", {"dit-xl2-256-cfg1.5", "sit-xl2-256-ode-cfg1.5"}),
        ("weights list dit-xl2 sit-xl2", "model", {"dit-xl2", "sit-xl2"}),
        ("audit ddt-xl2 TaylorSeer", "model", {"ddt-xl2", "dit-xl2"}),
    ],
)
def test_names_are_several_wherever_one_is_taken(words: str, key: str, first: set[str]) -> None:
    found = {record[key] for record in json.loads(dimbench(*words.split(), "--json").stdout)}
    assert first <= found, found
    refused(2, *words.split(), "nosuch")
