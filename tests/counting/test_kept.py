"""Kept counts: what ships is what a count gives, and whatever decides a count decides its key."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import dimbench as package
from dimbench import presets
from dimbench.counting import costs, kept
from dimbench.errors import UsageError
from dimbench.papers import saved_claims
from dimbench.papers.saved_claims import ClaimedRun
from tests.console import dimbench

ROOT = Path(__file__).parent.parent.parent
WANTED = runpy.run_path(str(ROOT / "results" / "kept_counts.py"))["wanted"]()
SAMPLE = [
    ("dit-s8", 256), ("udit-digits", 8), ("dim-digits", 8), ("dimsum-digits", 8), ("sit-s2", 256), ("adm-64", 64),
    ("dit-xl2-diffusers", 256),
]  # fmt: skip
shipped_here = pytest.mark.skipif(
    kept.here() != kept.shipped_with(), reason="what ships was counted with other versions of libraries"
)


@pytest.fixture(autouse=True)
def read_anew() -> None:
    kept._texts.cache_clear()


@pytest.fixture
def nothing_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kept, "SHIPPED", tmp_path / "kept.tsv")
    return tmp_path / "cache" / "kept.tsv"


def recounted(name: str, resolution: int) -> None:
    found = kept.known(name, resolution)
    assert found is not None, f"{name} at {resolution} does not ship; python results/kept_counts.py makes it"
    assert found == costs.count(name, resolution).sums()


@shipped_here
def test_all_that_is_asked_for_ships_and_is_current() -> None:
    absent = [pair for pair in WANTED if kept.known(*pair) is None]
    assert not absent, f"counts that ship are old; python results/kept_counts.py makes them again ({absent[:3]} ...)"


@shipped_here
@pytest.mark.parametrize(("name", "resolution"), SAMPLE)
def test_what_ships_is_what_a_count_gives(name: str, resolution: int) -> None:
    recounted(name, resolution)


@shipped_here
@pytest.mark.slow
@pytest.mark.parametrize(("name", "resolution"), WANTED)
def test_all_that_ships_is_what_a_count_gives(name: str, resolution: int) -> None:
    recounted(name, resolution)


def test_a_count_is_made_once(nothing_ships: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept.known("dit-digits") is None
    first = kept.sums("dit-digits")
    kept._texts.cache_clear()
    monkeypatch.setattr(costs, "count", None)
    assert kept.sums("DiT-digits", 8) == first
    with pytest.raises(TypeError):
        kept.sums("dit-digits", 16)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "dit-s8,depth=2"},
        {"resolution": 512},
        {"batch": 2},
        {"versions": {"torch": "0", "diffusers": "1"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_counted_decides_the_key(change: dict[str, object]) -> None:
    usual = {"name": "dit-s8", "resolution": None, "batch": 1, "versions": {"torch": "1", "diffusers": "1"}}
    assert kept._keyed(**usual) == kept._keyed(**{**usual, "resolution": 256})
    assert kept._keyed(**{**usual, **change}) != kept._keyed(**usual)


def test_libraries_and_surroundings_of_diffusers_decide_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(name: str, diffusers: str = "1") -> str:
        return kept._keyed(name, None, 1, {"torch": "1", "diffusers": diffusers})

    foreign, own = key("dit-xl2-diffusers"), key("dit-xl2")
    assert key("dit-xl2-diffusers", "2") != foreign
    assert key("dit-xl2", "2") == own
    monkeypatch.setenv("DIFFUSERS_ATTN_BACKEND", "flash")
    assert key("dit-xl2-diffusers") != foreign


@pytest.mark.parametrize(
    "part", ["config", "conditions", "inputs", "diffusion", "backbone", "resolution", "latent_stride"]
)
def test_the_preset_decides_the_key(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = presets.find("dit-s8")
    other = {"inputs": ("x=1",), "backbone": "sit", "resolution": 64, "latent_stride": 4}.get(part, {"other": 1})
    before = kept._keyed("dit-s8", 256, 1, {})
    monkeypatch.setattr(presets, "find", lambda name: replace(preset, **{part: other}))
    assert kept._keyed("dit-s8", 256, 1, {}) != before


@pytest.mark.parametrize(
    "file", ["models/dit.py", "layers/norm.py", "counting/rules.py", "meta.py", "kernels/haar/__init__.py"]
)
def test_the_sources_decide_the_key(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("dimbench", "kernels", "presets"):
        shutil.copytree(ROOT / room, tmp_path / ("" if room == "dimbench" else room), dirs_exist_ok=True)
    monkeypatch.setattr(package, "__path__", [str(tmp_path)])
    keys = []
    for text in ("", "# a word\n"):
        with (tmp_path / file).open("a") as source:
            source.write(text)
        kept._sources.cache_clear()
        keys.append((kept._keyed("dit-s8", None, 1, {}), kept._keyed("sit-s8", None, 1, {})))
    kept._sources.cache_clear()
    assert keys[0][0] != keys[1][0]
    assert (keys[0][1] == keys[1][1]) == (presets.find("sit-s8").backbone != "dit" and file == "models/dit.py")


def test_code_of_ones_own_has_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "find", lambda name: replace(presets.all_presets()["dit-s8"], backbone="net.py:Net"))
    assert kept._keyed("mine", None, 1, {}) == ""


def deciding(*names: str) -> None:
    """Counting these loads no file of ours that is not in the key."""
    script = (
        "import json, sys; from dimbench.counting import costs\n"
        "for name in sys.argv[1:]: costs.count(name)\n"
        "print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.startswith('dimbench.') and m.__file__]))"
    )
    ran = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = {Path(file) for file in json.loads(ran.stdout)}
    hashed = {file for pattern in kept.SOURCES for root in package.__path__ for file in Path(root).glob(pattern)}
    families = {ROOT / "dimbench" / "models" / f"{presets.find(name).backbone}.py" for name in names}
    empty = {file for file in loaded if not file.read_text().strip()}
    assert not loaded - hashed - families - empty


def test_what_a_count_loads_is_in_the_key() -> None:
    deciding("dit-digits", "dimsum-digits", "udit-digits", "dit-xl2-diffusers")


@pytest.mark.slow
def test_what_the_count_of_any_family_loads_is_in_the_key() -> None:
    deciding(*{preset.backbone: name for name, preset in presets.all_presets().items()}.values())


@pytest.mark.parametrize("change", [lambda line: line.replace('"params": 1', '"params": 2'), lambda line: line[:40]])
def test_a_damaged_line_is_left_out_and_said(change, nothing_ships: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = kept.sums("dit-digits")
    nothing_ships.write_text(change(nothing_ships.read_text()))
    kept._texts.cache_clear()
    assert kept.known("dit-digits") is None
    assert "1 damaged lines were left out" in capsys.readouterr().err
    assert kept.sums("dit-digits") == right
    kept._texts.cache_clear()
    assert kept.known("dit-digits") == right, "a line behind one that was cut stands alone"


def test_a_cache_that_cannot_be_written_is_said(
    nothing_ships: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (nothing_ships.parent).write_text("a file where the folder should be")
    assert kept.sums("dit-digits").macs("macs") == costs.count("dit-digits").macs("macs")
    assert "counts cannot be kept in" in capsys.readouterr().err


def test_kept_and_fresh_records_are_the_same(nothing_ships: Path) -> None:
    def shown() -> list[dict[str, object]]:
        (record,) = json.loads(dimbench("flops", "dit-digits", "--json").stdout)
        return {name: record[name] for name in ("model", "conditions", "metrics", "details")}

    assert shown() == shown()
    with_bill = json.loads(dimbench("flops", "dit-digits", "--json", "--breakdown", "operator").stdout)[0]
    assert with_bill["details"].pop("bill")
    assert shown() == {name: with_bill[name] for name in ("model", "conditions", "metrics", "details")}


def test_list_shows_what_was_counted(nothing_ships: Path) -> None:
    assert "not counted" in dimbench("list", "dit-digits").stdout
    dimbench("flops", "dit-digits")
    shown = dimbench("list", "dit-digits").stdout
    assert "not counted" not in shown
    assert "11.31 M" in shown


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UsageError):
        kept.known("dit-s3")


RUNS = saved_claims.runs()


@shipped_here
def test_all_runs_that_are_asked_for_ship_and_are_current() -> None:
    absent = [run for run in RUNS if kept.known_run(run.model, run.resolution, run.settings) is None]
    assert not absent, f"runs that ship are old; python results/kept_counts.py makes them again ({absent[:3]} ...)"


@shipped_here
@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS, ids=str)
def test_all_runs_that_ship_are_what_a_count_gives(run: ClaimedRun) -> None:
    assert kept.known_run(run.model, run.resolution, run.settings) == run.counted()


def test_a_run_is_counted_once_for_its_settings(nothing_ships: Path) -> None:
    run = ClaimedRun("dit-digits", 8, 4, 1.5, None, ("fora:every=2",))
    other = replace(run, steps=6)
    assert kept.run(run.model, 8, run.settings, lambda: 7) == 7
    assert kept.run(run.model, 8, run.settings, lambda: 8) == 7
    assert kept.run(other.model, 8, other.settings, lambda: 9) == 9
    kept._texts.cache_clear()
    assert kept.known_run(run.model, 8, run.settings) == 7
    assert kept.known("dit-digits", 8) is None, "a pass of it is none of its runs"
