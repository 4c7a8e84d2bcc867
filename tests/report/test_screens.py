"""Every command's table on a narrow, a usual and a wide terminal, and in a pipe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dimbench import presets, results
from dimbench.papers import reached
from dimbench.report import kernel_times, lottery, quality, speed, tables, tradeoffs, training_costs
from dimbench.report.tables import Table
from dimbench.results import Record
from tests.console import dimbench

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "list", "list --for imagenet-256", "params *", "flops *", "flops dit-xl2 udit-s --steps 50 --cfg",
    "flops dit-digits --breakdown module --check", "choose dit-s2 udit-s dit-xl2", "choose --for imagenet-256",
    "table", "table dit-4", "table udit-1", "audit", "plot", "sweep", "recipes", "methods", "kernels",
    "weights list", "weights where", "doctor", "doctor --for fid:dit-digits --for fid:dit-xl2",
    "cost train dit-digits --iterations 7000000", pytest.param("cost claims", marks=pytest.mark.slow),
    "audit dit-digits --tools", "params dit-xl2 --breakdown",
    f"compare {ROOT}/results/bench-cpu.jsonl {ROOT}/results/bench-cpu.jsonl",
]  # fmt: skip
_NUMBER = re.compile(r"(?<![\w/.,-])\d[\d.,]*(?![\w/-])")


def numbers(text: str) -> set[str]:
    return {found.rstrip(".,") for found in _NUMBER.findall(text)}


def rows(text: str) -> list[str]:
    """The lines of its tables, without the notes below them."""
    found, inside = [], False
    for line in text.splitlines():
        if set(line.strip()) == {"─"}:
            inside = True
        elif not line.strip():
            inside = False
        elif inside and line.startswith(" "):
            found.append(line)
    return found


@pytest.fixture(autouse=True)
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIMBENCH_RESULTS", str(tmp_path))


@pytest.mark.parametrize("command", COMMANDS)
def test_no_table_is_wider_than_the_screen_and_no_number_is_cut(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dimbench(*command.split()).stdout
    known = numbers(whole)
    for width in (80, 100, 140):
        monkeypatch.setattr(tables, "screen_width", lambda width=width: width)
        said = dimbench(*command.split()).stdout
        assert all(len(line) <= width for line in rows(said)), (width, command)
        short = {number for number in numbers("\n".join(rows(said))) if not re.fullmatch(r"\d{1,3}\.\d\d", number)}
        assert short <= known, (width, command, short - known)


def of_recipes() -> Iterator[dict]:
    """Records that followed all recipes, each second with too few images."""
    for place, name in enumerate(presets.recipes()):
        conditions = {"num_images": 10_000 if place % 2 else 50_000, "weights": "0123"}
        metrics = {"fid": 2.345, "fid_error": 0.0234}
        yield Record("fid", "dit-xl2", conditions, metrics, details={"recipe": name}).as_dict()


def of_records() -> Iterator[tuple[str, Table]]:
    """Tables of commands that take long, from records."""

    def read(name: str, command: str) -> list[Record]:
        return [Record(**r) for r in results.read(ROOT / "results" / name) if r["command"] == command]

    yield "bench", speed.table(read("bench-cpu.jsonl", "bench"))
    yield "kernels", kernel_times.timings(read("kernels.jsonl", "kernels"))
    yield "fid", quality.side_by_side(read("digits.jsonl", "fid"))
    yield "fid-lottery", lottery.table(read("fid-lottery.jsonl", "fid-lottery"))
    yield "recipes --check", quality.reached(reached.check(presets.recipes(), list(of_recipes())))
    for place, table in enumerate(tradeoffs.tables(read("methods.jsonl", "frontier"))):
        yield f"frontier {place}", table


TABLES = dict(of_records())


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("name", TABLES)
def test_tables_of_measurements(name: str, width: int) -> None:
    drawn, whole = TABLES[name].drawn(width), TABLES[name].drawn()
    assert max(map(len, drawn.lines)) <= width
    assert numbers("\n".join(drawn.lines)) <= numbers("\n".join(whole.lines))


@pytest.mark.parametrize("name", sorted(TABLES.keys() - {"fid"}))  # of which the columns are models
def test_a_column_that_is_left_out_has_a_name_of_its_own(name: str) -> None:
    columns = TABLES[name].columns
    assert len(set(columns)) == len(columns)


def test_a_narrow_screen_keeps_of_claims_what_is_printed_and_what_we_find() -> None:
    common = {"source": "its laboratory's page, and a plan of ours"}
    days = {"printed": "950 V100-days", "steps": "7,000,000", **common}
    saved = {"paper": "DiTFastAttn, attention in one of ten steps", "printed": "the model's FLOPs to 35 %",
             "setting": "50 steps, cfg 4, fast-attn:plan=fsssssssss", **common}  # fmt: skip
    needs = {"claimed_days": 950.0, "needs_v100-fp32": 0.99, "needs_v100-fp16": 0.124}
    found = training_costs.claims([
        Record("cost", "dit-xl2", {"resolution": 256}, needs, details=days),
        Record("cost", "dit-xl2", {"resolution": 512}, {"executed_share": 0.623}, details=saved),
    ])  # fmt: skip
    for table, judged in zip(found, ("what it needs of the ceiling", "MACs left"), strict=True):
        assert not {"printed", judged} & set(table.drawn(80).left_out)
